"""Loads an adapter that Slayer trained with PEFT, and compares its held-out loss with the one Slayer measured.

    python compare_adapter.py BASE RUN --held-out held.txt --sequence-length 128

BASE: the Hugging Face directory the adapter belongs to. RUN: the run's directory, whose metrics.jsonl ends with an evaluation of
the same text. The text is tokenized whole and cut into windows that do not overlap; the first token of each is not scored.
Prints one JSON line; exit 1 where the two losses differ by more than 1e-5 relative, or the adapter changes nothing.
"""

import argparse
import json
from pathlib import Path

import peft
import torch
import transformers
from peft import PeftModel
from tokenizers import Tokenizer

from models import load, reproducible


def loss(model, ids: torch.Tensor, length: int) -> float:
    nats, scored = 0.0, 0
    for window in ids.split(length):
        if len(window) < 2:
            continue
        logits = model(input_ids=window[None], use_cache=False).logits[0, :-1].double()
        nats += torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum").item()
        scored += len(window) - 1
    return nats / scored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--sequence-length", type=int, required=True)
    args = parser.parse_args()
    reproducible()
    ids = torch.tensor(Tokenizer.from_file(str(args.base / "tokenizer.json")).encode(args.held_out.read_text()).ids)
    lines = [json.loads(line) for line in (args.run / "metrics.jsonl").read_text().splitlines()]
    ours = next(iter([line for line in lines if "eval" in line][-1]["eval"].values()))
    with torch.no_grad():
        before = loss(load(args.base), ids, args.sequence_length)
        theirs = loss(PeftModel.from_pretrained(load(args.base), args.run / "model"), ids, args.sequence_length)
    error = abs(ours - theirs) / theirs
    print(json.dumps(dict(peft=peft.__version__, transformers=transformers.__version__, tokens=len(ids), base=before,
                          slayer=ours, loaded_by_peft=theirs, relative_error=error)))
    raise SystemExit(0 if error <= 1e-5 and abs(theirs - before) > 1e-3 else 1)


if __name__ == "__main__":
    main()
