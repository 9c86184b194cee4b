"""The same training step in PyTorch + Transformers, driven line by line so that two programs can take turns.

    python torch_step.py MODEL_DIR BATCHES.safetensors --threads 2 [--trainable 2 6]

Prints "ready", then for each line "N" on stdin runs N optimizer steps and prints one JSON line
{"seconds": [..], "losses": [..]}. Settings as run.mjs states them: AdamW(fused), clip 1.0, f32, SDPA attention.
"""

import argparse
import json
import sys
import time

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("batches")
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--trainable", type=int, nargs="*", help="block indices; everything if absent")
args = parser.parse_args()

torch.set_num_threads(args.threads)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa")
model.train()
for name, parameter in model.named_parameters():
    parameter.requires_grad_(
        args.trainable is None or any(name.startswith(f"model.layers.{block}.") for block in args.trainable))
trained = [p for p in model.parameters() if p.requires_grad]
groups = [dict(params=[p for p in trained if p.ndim >= 2], weight_decay=0.1),
          dict(params=[p for p in trained if p.ndim < 2], weight_decay=0.0)]
optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95), eps=1e-8, fused=True)
ids = load_file(args.batches)["input_ids"].long()  # [S, B, T]
print("ready", torch.__version__, torch.__config__.parallel_info().split("\n")[0], flush=True)

step = 0
for line in sys.stdin:
    seconds, losses = [], []
    for _ in range(int(line)):
        batch = ids[step % len(ids)]
        start = time.perf_counter()
        logits = model(input_ids=batch, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
        step += 1
    print(json.dumps(dict(seconds=seconds, losses=losses)), flush=True)
