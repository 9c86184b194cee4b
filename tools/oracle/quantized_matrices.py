"""Matrices in int8 and nf4, with one f32 scale per 64 values of a row, in plain NumPy.

    python quantized_matrices.py --out ../../packages/tensor/test/fixtures/quantized.json

nf4 (Dettmers et al. 2023, arXiv:2305.14314, section 3 and appendix E): the levels are made here as the paper describes, from quantiles of
the normal distribution (8 of the upper half and 7 of the lower, 0 between them, divided by the largest), and must agree with the
published ones to 1e-6; a code is the index of the level nearest to w / max|w|, by comparing all 16 distances. int8: the
integer nearest to w / s, s = max|w| / 127, to even where two are as near (np.rint). Codes are written one by one, not packed.
"""

import argparse
import json
from pathlib import Path
from statistics import NormalDist

import numpy as np

PUBLISHED = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip
GROUP = 64


def nf4_levels() -> np.ndarray:
    # The outermost quantile lies half a step, on average of the two halves, from 0 and 1.
    outer = 1 - (1 / (2 * 15) + 1 / (2 * 16)) / 2
    upper = [NormalDist().inv_cdf(q) for q in np.linspace(outer, 0.5, 9)[:-1]]
    lower = [-NormalDist().inv_cdf(q) for q in np.linspace(outer, 0.5, 8)[:-1]]
    levels = np.array(sorted([*upper, 0.0, *lower]))
    return levels / levels.max()


def quantized(w: np.ndarray, form: str) -> dict:
    rows, columns = w.shape
    groups = -(-columns // GROUP)
    levels = np.array(PUBLISHED, np.float32)
    codes = np.zeros(w.shape, np.int64)
    scales = np.zeros((rows, groups), np.float32)
    values = np.zeros(w.shape, np.float32)
    for row in range(rows):
        for g in range(groups):
            part = slice(g * GROUP, min(columns, (g + 1) * GROUP))
            x = w[row, part]
            most = np.abs(x).max()
            scale = most if form == "nf4" else np.float32(np.float64(most) / 127)
            unit = np.zeros_like(x, np.float64) if scale == 0 else x.astype(np.float64) / np.float64(scale)
            if form == "nf4":
                code = np.abs(unit[:, None] - levels.astype(np.float64)[None, :]).argmin(axis=1)
                value = levels[code]
            else:
                code = np.rint(unit).astype(np.int64)
                value = code.astype(np.float32)
            codes[row, part], scales[row, g], values[row, part] = code, scale, value * scale
    return {"codes": codes.ravel().tolist(), "scales": scales.ravel().tolist(), "values": values.ravel().tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    assert np.abs(nf4_levels() - PUBLISHED).max() < 1e-6, nf4_levels()
    rng = np.random.default_rng(20231)
    matrices = {
        "normal": rng.normal(0, 0.02, (4, 131)),
        "heavy tails": rng.standard_t(2, (3, 72)),
        # Largest value 127: the scale of int8 is 1, and halves are ties.
        "ties": np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, 0, -0.0]]),
        "a group of zeros, and one value alone": np.concatenate([np.zeros((2, 64)), [[3.0], [-1e-30]]], axis=1),
    }
    cases = []
    for name, matrix in matrices.items():
        w = matrix.astype(np.float32)
        case = {"name": name, "shape": list(w.shape), "weights": w.ravel().tolist()}
        cases.append({**case, "int8": quantized(w, "int8"), "nf4": quantized(w, "nf4")})
    out.write_text(json.dumps({"source": "tools/oracle/quantized_matrices.py", "numpy": np.__version__, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
