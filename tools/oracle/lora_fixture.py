"""LoRA by PEFT on the training fixture's model and batches: twelve AdamW steps.

    python lora_fixture.py --fixture ../../test/fixtures/losscurve

Reads model/ and batches.safetensors, which losscurve_fixture.py writes; writes expected.lora.safetensors: losses [S], grad_norms [S]
(before clipping), and of every adapter tensor, under the names of PEFT's files, initial.<name>, grad.<name> (step 0, before
clipping) and final.<name>. B starts random here, not 0, so that A has a gradient from the first step on. Settings: below, and
in the docstring of losscurve.py.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file, save_file

from losscurve import learning_rate
from models import load, reproducible

RANK, ALPHA, TARGETS = 4, 6, ["q_proj", "v_proj", "down_proj"]
LR, FINAL, WARMUP, DECAY, BETAS, EPS, CLIP = 1e-2, 1e-3, 3, 0.1, (0.9, 0.95), 1e-8, 2.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixture", type=Path, required=True)
    fixture = parser.parse_args().fixture
    reproducible()
    batches = load_file(fixture / "batches.safetensors")
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, lora_dropout=0.0, task_type="CAUSAL_LM")
    model = get_peft_model(load(fixture / "model"), config)
    trainable = {name.replace(".default", ""): p for name, p in model.named_parameters() if p.requires_grad}
    rng = np.random.default_rng(3)
    result = {}
    for name, p in trainable.items():
        p.data = torch.from_numpy(rng.uniform(-0.3, 0.3, p.shape).astype(np.float32))
        result[f"initial.{name}"] = p.detach().numpy().copy()
    optimizer = torch.optim.AdamW(trainable.values(), lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY, foreach=False)
    ids, targets = (torch.from_numpy(batches[key]).long() for key in ("input_ids", "targets"))
    losses, norms = np.zeros(len(ids), np.float32), np.zeros(len(ids), np.float32)
    for s in range(len(ids)):
        optimizer.param_groups[0]["lr"] = learning_rate(s, len(ids), LR, FINAL, WARMUP)
        logits = model(input_ids=ids[s], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets[s].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        if s == 0:
            result |= {f"grad.{name}": p.grad.numpy().copy() for name, p in trainable.items()}
        norms[s] = torch.nn.utils.clip_grad_norm_(trainable.values(), CLIP, foreach=False).item()
        optimizer.step()
        losses[s] = loss.item()
    result |= {f"final.{name}": p.detach().numpy() for name, p in trainable.items()}
    assert norms.min() < CLIP < norms.max(), f"clipping acts always or never: {norms}"
    save_file(result | {"losses": losses, "grad_norms": norms}, fixture / "expected.lora.safetensors")
    print("loss", losses.round(4), "grad norm", norms.round(3))


if __name__ == "__main__":
    main()
