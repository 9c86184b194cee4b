"""Does transformers load a directory written by Slayer, and does it compute the same logits?

    python compare.py BASE WRITTEN --logits logits.safetensors [--tolerance 1e-4] [--same-function] [--out result.json]
    python compare.py BASE WRITTEN --tokens tokens.safetensors --same-function

BASE is the checkpoint Slayer read, WRITTEN the directory it wrote (the same path twice checks Slayer's reading alone).
--logits  Slayer's logits for WRITTEN: "input_ids" int32 [B,T] and "logits" float32 [B,T,V]
--tokens  "input_ids" int32 [B,T], when there are no logits to compare
--same-function  WRITTEN must also compute what BASE computes (expansion with zeroed blocks)

Models are loaded with AutoModelForCausalLM in float32 with eager attention. A tensor that is missing, left over or of
another shape fails. Relative error: max |a - b| / max |b| over all logits, b from transformers on WRITTEN (on BASE for
--same-function).
One JSON document on stdout; exit status 1 beyond the tolerance.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from models import reproducible, versions


def relative_error(a: np.ndarray, b: np.ndarray) -> float | None:
    """None, which no tolerance admits, where a value is NaN or infinite."""
    if a.shape != b.shape:
        raise SystemExit(f"logits of shape {a.shape} against {b.shape}")
    error = float(np.abs(a.astype(np.float64) - b).max() / np.abs(b).max())
    return error if np.isfinite(error) else None


def logits_of(directory: Path, ids: np.ndarray) -> tuple[np.ndarray, int, dict[str, list]]:
    """Logits [B,T,V], the number of parameters, and what did not fit when loading."""
    model, info = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, local_files_only=True)
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.from_numpy(ids).long(), use_cache=False).logits.numpy()
    misfits = {key: sorted(map(str, names)) for key, names in info.items() if names}
    return logits, sum(p.numel() for p in model.parameters()), misfits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("written", type=Path)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--logits", type=Path)
    given.add_argument("--tokens", type=Path)
    parser.add_argument("--same-function", action="store_true")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--out", type=Path, help="also write the JSON document here")
    args = parser.parse_args()
    if args.tokens and not args.same_function:
        parser.error("--tokens alone compares nothing: give --logits, or --same-function")
    reproducible()

    ours = load_file(args.logits or args.tokens)
    reference, parameters, misfits = logits_of(args.written, ours["input_ids"])
    report = dict(base=args.base.name, written=args.written.name, tokens=list(ours["input_ids"].shape),
                  parameters=parameters, misfits=misfits, tolerance=args.tolerance, versions=versions(), errors={})
    if args.logits:
        report["errors"]["slayer_vs_transformers"] = relative_error(ours["logits"], reference)
    base, report["base_parameters"], _ = logits_of(args.base, ours["input_ids"])
    difference = relative_error(reference, base)
    if args.same_function:
        report["errors"]["written_vs_base"] = difference
    else:
        report["for_information"] = {"written_vs_base": difference}
    report["ok"] = not misfits and all(
        error is not None and error <= args.tolerance for error in report["errors"].values())
    document = json.dumps(report, indent=2) + "\n"
    if args.out:
        args.out.write_text(document)
    sys.stdout.write(document)
    sys.exit(0 if report["ok"] else 1)


if __name__ == "__main__":
    main()
