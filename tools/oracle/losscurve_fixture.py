"""The committed training fixtures: a four-block llama, its batches, and two runs of losscurve.py on them.

    python losscurve_fixture.py --out ../../test/fixtures/losscurve

Writes model/ (Hugging Face directory, float32), batches.safetensors, expected.blocks.safetensors (blocks 1 and 2
trainable, all tensors of them), expected.all.safetensors (everything trainable) and source.json (hyperparameters); and, of 200
steps, batches.cpt.safetensors and batches.sft.safetensors (the first tokens of each sequence are a prompt: not scored) with
expected.cpt.safetensors and expected.sft.safetensors (everything trainable; no final weights).
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


# The long runs.
LONG_STEPS, LONG_LR = 200, 4e-3
LONG = {"cpt": False, "sft": True}


def structured_batches(rng: np.random.Generator, steps: int = STEPS) -> dict[str, np.ndarray]:
    """Sequences x[t+1] = 5 x[t] + 3 mod V with one token in five random, so that there is something to learn.

    The first three targets of the second sequence of every batch are ignored, as a prompt would be."""
    tokens = rng.integers(0, VOCAB, (steps, BATCH, TOKENS + 1))
    noise = rng.random(tokens.shape) < 0.2
    for t in range(TOKENS):
        tokens[..., t + 1] = np.where(noise[..., t + 1], tokens[..., t + 1], (5 * tokens[..., t] + 3) % VOCAB)
    targets = tokens[..., 1:].copy()
    targets[:, 1, :3] = -100
    return {"input_ids": np.ascontiguousarray(tokens[..., :-1], np.int32), "targets": targets.astype(np.int32)}


def long_batches(rng: np.random.Generator, prompts: bool) -> dict[str, np.ndarray]:
    """As above for 200 steps; with `prompts`, the first 3 to 11 targets of every sequence are ignored, otherwise none."""
    batches = structured_batches(rng, LONG_STEPS)
    ids, targets = batches["input_ids"], batches["targets"]
    targets[:, :, :-1] = ids[:, :, 1:]
    if prompts:
        lengths = rng.integers(3, 12, targets.shape[:2])
        targets[np.arange(TOKENS) < lengths[..., None]] = -100
    return batches


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
    long = HYPERPARAMETERS | dict(lr=LONG_LR, final=0.0, warmup=4)
    for run, prompts in LONG.items():
        batches = long_batches(np.random.default_rng(SEED + 1), prompts)
        save_file(batches, out / f"batches.{run}.safetensors")
        expected = train(load(out / "model"), batches, patterns=["all"], clip=4.0, **long)
        save_file({key: value for key, value in expected.items() if not key.startswith("final.")},
                  out / f"expected.{run}.safetensors")
        print(run, "loss", expected["losses"][[0, 50, 100, 150, 199]].round(4))
    source = dict(command="python tools/oracle/losscurve_fixture.py --out test/fixtures/losscurve", seed=SEED,
                  hyperparameters=HYPERPARAMETERS, runs=RUNS, long=long | dict(steps=LONG_STEPS, clip=4.0), versions=versions(),
                  settings="float32 arithmetic, attn_implementation eager, deterministic algorithms, one thread")
    (out / "source.json").write_text(json.dumps(source, indent=2) + "\n")


if __name__ == "__main__":
    main()
