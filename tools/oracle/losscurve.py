"""Reference training run: AdamW on a Hugging Face directory, in float32 with torch, one optimizer step per batch.

    python losscurve.py --model DIR --batches batches.safetensors --out expected.safetensors \\
        --trainable 1 2 --lr 1e-2 --final 1e-3 --warmup-steps 3 [--weight-decay 0.1] [--clip 1.0]

Batches: "input_ids" [S,B,T] and "targets" [S,B,T] int32; targets are already shifted (targets[.., t] follows
input_ids[.., t]), -100 is ignored. "positions" and "segments" [S,B,T] if there are any: position ids, and of which document a
token is; it sees only its own. Loss: mean of -log p(target) over the targets of the batch that are not ignored.

Step s = 0..S-1 with W warmup steps uses
    lr_s = lr (s+1)/W                                                   s < W
    lr_s = final + (lr - final) (1 + cos(pi (s-W)/(S-W))) / 2           s >= W        (`final` is an lr, not a ratio)
Gradients are scaled by min(1, clip / (norm + 1e-6)), norm over all trainable tensors together (clip_grad_norm_).
AdamW (arXiv:1711.05101, torch.optim.AdamW), t = s+1:
    w -= lr_s decay w;   m = b1 m + (1-b1) g;   v = b2 v + (1-b2) g g
    w -= lr_s (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)
where `decay` is 0 for tensors of one dimension (norms, biases).

--trainable: `all`, block indices, or dotted paths matched on whole segments from the start (`model.layers.1`,
`lm_head`, `model.layers.*.mlp`). Everything else is frozen. A pattern that matches nothing is an error.

Writes float32: losses [S], grad_norms [S] (before clipping), lrs [S], and of the trainable tensors grad.<name> (step 0,
before clipping) and final.<name> (after step S-1).
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from models import load, reproducible


def learning_rate(s: int, steps: int, lr: float, final: float, warmup: int) -> float:
    if s < warmup:
        return lr * (s + 1) / warmup
    return final + (lr - final) * 0.5 * (1 + math.cos(math.pi * (s - warmup) / (steps - warmup)))


def matches(pattern: str, name: str) -> bool:
    wanted = (f"model.layers.{pattern}" if pattern.isdigit() else pattern).split(".")
    segments = name.split(".")
    return pattern == "all" or (len(wanted) <= len(segments) and all(w in ("*", s) for w, s in zip(wanted, segments)))


def choose_trainable(model: torch.nn.Module, patterns: list[str]) -> dict[str, torch.nn.Parameter]:
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        if not any(matches(pattern, name) for name in parameters):
            raise SystemExit(f"--trainable {pattern} matches no tensor; there are: {', '.join(parameters)}")
    for name, parameter in parameters.items():
        parameter.requires_grad_(any(matches(pattern, name) for pattern in patterns))
    return {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}


def packing(batches: dict[str, np.ndarray], s: int) -> dict[str, torch.Tensor]:
    """Position ids and the additive attention mask [B,1,T,T] of a step's packed sequences, where it has them."""
    if "segments" not in batches:
        return {}
    segments = torch.from_numpy(batches["segments"][s])
    seen = (segments[:, :, None] == segments[:, None, :]).tril()
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    return dict(position_ids=torch.from_numpy(batches["positions"][s]).long(), attention_mask=mask[:, None])


def train(model: torch.nn.Module, batches: dict[str, np.ndarray], patterns: list[str], lr: float, final: float,
          warmup: int, weight_decay: float, clip: float, betas: tuple[float, float], eps: float) -> dict:
    trainable = choose_trainable(model, patterns)
    matrices = [p for p in trainable.values() if p.ndim >= 2]
    vectors = [p for p in trainable.values() if p.ndim < 2]
    groups = [dict(params=matrices, weight_decay=weight_decay), dict(params=vectors, weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, foreach=False, fused=False)
    ids, targets = (torch.from_numpy(batches[key]).long() for key in ("input_ids", "targets"))
    result = {key: np.zeros(len(ids), np.float32) for key in ("losses", "grad_norms", "lrs")}
    for s in range(len(ids)):
        lr_s = learning_rate(s, len(ids), lr, final, warmup)
        for group in optimizer.param_groups:
            group["lr"] = lr_s
        logits = model(input_ids=ids[s], use_cache=False, **packing(batches, s)).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets[s].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        if s == 0:
            result |= {f"grad.{name}": p.grad.numpy().copy() for name, p in trainable.items()}
        norm = torch.nn.utils.clip_grad_norm_(trainable.values(), clip, foreach=False)
        optimizer.step()
        result["losses"][s], result["grad_norms"][s], result["lrs"][s] = loss.item(), norm.item(), lr_s
    return result | {f"final.{name}": p.detach().numpy() for name, p in trainable.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--batches", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trainable", nargs="+", default=["all"])
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--final", type=float, default=0.0)
    parser.add_argument("--warmup-steps", type=int, default=0)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--betas", type=float, nargs=2, default=(0.9, 0.95))
    parser.add_argument("--eps", type=float, default=1e-8)
    args = parser.parse_args()
    reproducible()
    result = train(load(args.model), load_file(args.batches), args.trainable, args.lr, args.final, args.warmup_steps,
                   args.weight_decay, args.clip, tuple(args.betas), args.eps)
    save_file(result, args.out)
    for s, (loss, norm, lr) in enumerate(zip(result["losses"], result["grad_norms"], result["lrs"])):
        print(f"step {s:4}  loss {loss:.6f}  grad_norm {norm:.6f}  lr {lr:.6g}")


if __name__ == "__main__":
    main()
