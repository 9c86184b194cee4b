"""The committed training fixtures: a four-block llama, its batches, and two runs of losscurve.py on them.

    python losscurve_fixture.py --out ../../test/fixtures/losscurve

Writes model/ (Hugging Face directory, float32), batches.safetensors, expected.blocks.safetensors (blocks 1 and 2
trainable, all tensors of them), expected.all.safetensors (everything trainable) and source.json (hyperparameters).
"""

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from losscurve import train
from models import load, random_model, reproducible, versions

SEED, STEPS, BATCH, TOKENS, VOCAB = 7, 12, 2, 16, 48
HYPERPARAMETERS = dict(lr=1e-2, final=1e-3, warmup=3, weight_decay=0.1, betas=[0.9, 0.95], eps=1e-8)
# Each clip lies inside the range of its run's gradient norms, so that some steps are clipped and some are not.
RUNS = {"blocks": dict(patterns=["1", "2"], clip=2.0), "all": dict(patterns=["all"], clip=4.0)}


def structured_batches(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Sequences x[t+1] = 5 x[t] + 3 mod V with one token in five random, so that there is something to learn.

    The first three targets of the second sequence of every batch are ignored, as a prompt would be."""
    tokens = rng.integers(0, VOCAB, (STEPS, BATCH, TOKENS + 1))
    noise = rng.random(tokens.shape) < 0.2
    for t in range(TOKENS):
        tokens[..., t + 1] = np.where(noise[..., t + 1], tokens[..., t + 1], (5 * tokens[..., t] + 3) % VOCAB)
    targets = tokens[..., 1:].copy()
    targets[:, 1, :3] = -100
    return {"input_ids": np.ascontiguousarray(tokens[..., :-1], np.int32), "targets": targets.astype(np.int32)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    reproducible()
    random_model("llama", dict(num_hidden_layers=4), SEED).save_pretrained(out / "model")
    batches = structured_batches(np.random.default_rng(SEED))
    save_file(batches, out / "batches.safetensors")
    for run, options in RUNS.items():
        expected = train(load(out / "model"), batches, **HYPERPARAMETERS, **options)
        norms = expected["grad_norms"]
        assert norms.min() < options["clip"] < norms.max(), f"{run}: clipping acts always or never: {norms}"
        save_file(expected, out / f"expected.{run}.safetensors")
        print(run, "loss", expected["losses"].round(4), "grad norm", norms.round(3))
    source = dict(command="python tools/oracle/losscurve_fixture.py --out test/fixtures/losscurve", seed=SEED,
                  hyperparameters=HYPERPARAMETERS, runs=RUNS, versions=versions(),
                  settings="float32 arithmetic, attn_implementation eager, deterministic algorithms, one thread")
    (out / "source.json").write_text(json.dumps(source, indent=2) + "\n")


if __name__ == "__main__":
    main()
