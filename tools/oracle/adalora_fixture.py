"""AdaLoRA by PEFT on the training fixture's model and batches: twelve AdamW steps, the budget of ranks falling.

    python adalora_fixture.py --fixture ../../test/fixtures/losscurve

Reads model/ and batches.safetensors, which losscurve_fixture.py writes; writes expected.adalora.safetensors: losses [S] (the mean
cross-entropy alone), penalties [S] (what PEFT adds to the loss for orthogonality), grad_norms [S] (of both, before clipping), and of
every adapter tensor initial.<name>, grad.<name> (step 0, before clipping), final.<name>; sensitivity.<name> and uncertainty.<name>,
PEFT's running means after the last step that updates them (END - 1). kept.<module> [S,R] int32: which triplets PEFT keeps after
a step's decision, -1 where it decides nothing; E.<module> [S,R]: the singular values after each step.
adapter/ holds what PEFT saves at the end. Step s = 0..S-1 is PEFT's global step s + 1. E starts random here, not 0.

A decision that hangs on the last bits of a float would compare rounding: at every decision the first triplet kept and
the last one masked must differ by 1e-3 relative, or the script fails.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from peft import AdaLoraConfig, get_peft_model
from safetensors.numpy import load_file, save_file

from losscurve import learning_rate
from models import load, reproducible

INIT_R, TARGET_R, ALPHA, TARGETS = 4, 2, 6, ["q_proj", "v_proj", "down_proj"]
TINIT, TFINAL, DELTA_T, BETA1, BETA2, ORTHOGONALITY = 2, 3, 2, 0.85, 0.8, 0.5
LR, FINAL, WARMUP, DECAY, BETAS, EPS, CLIP = 1e-2, 1e-3, 3, 0.1, (0.9, 0.95), 1e-8, 1.1


def plain(name: str) -> str:
    """A tensor's name as PEFT saves it."""
    return name.replace(".default", "")


def smallest_lead(allocator, model, budget: int) -> float:
    """Between the scores of the last triplet masked and the first one kept, relative."""
    scores = []
    for name, _ in model.named_parameters():
        if "lora_E" in name:
            of = {kind: allocator._element_score(name.replace("lora_E", kind)) for kind in ("lora_A", "lora_E", "lora_B")}
            scores.append(of["lora_E"].view(-1) + of["lora_A"].mean(1) + of["lora_B"].mean(0))
    ordered = torch.cat(scores).sort().values
    last, first = ordered[allocator.init_bgt - budget - 1], ordered[allocator.init_bgt - budget]
    return ((first - last) / first).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixture", type=Path, required=True)
    fixture = parser.parse_args().fixture
    reproducible()
    batches = load_file(fixture / "batches.safetensors")
    ids, targets = (torch.from_numpy(batches[key]).long() for key in ("input_ids", "targets"))
    steps = len(ids)
    end = steps - TFINAL
    config = AdaLoraConfig(
        init_r=INIT_R, target_r=TARGET_R, lora_alpha=ALPHA, target_modules=TARGETS, lora_dropout=0.0, tinit=TINIT,
        tfinal=TFINAL, deltaT=DELTA_T, beta1=BETA1, beta2=BETA2, orth_reg_weight=ORTHOGONALITY, total_step=steps,
        task_type="CAUSAL_LM")
    peft_model = get_peft_model(load(fixture / "model"), config)
    adalora = peft_model.base_model
    inner, allocator = adalora.model, adalora.rankallocator
    trainable = {plain(name): p for name, p in peft_model.named_parameters() if p.requires_grad}
    modules = [plain(name).removesuffix(".lora_E") for name, _ in inner.named_parameters() if "lora_E" in name]
    rng = np.random.default_rng(3)
    result = {f"kept.{module}": np.full((steps, INIT_R), -1, np.int32) for module in modules}
    result |= {f"E.{module}": np.zeros((steps, INIT_R), np.float32) for module in modules}
    for name, p in trainable.items():
        p.data = torch.from_numpy(rng.uniform(-0.5, 0.5, p.shape).astype(np.float32))
        result[f"initial.{name}"] = p.detach().numpy().copy()
    optimizer = torch.optim.AdamW(trainable.values(), lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY, foreach=False)
    losses, penalties, norms = (np.zeros(steps, np.float32) for _ in range(3))
    leads = []
    for s in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(s, steps, LR, FINAL, WARMUP)
        output = peft_model(input_ids=ids[s], labels=targets[s], shift_labels=targets[s], use_cache=False)
        loss = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), targets[s].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        output.loss.backward()
        if s == 0:
            result |= {f"grad.{name}": p.grad.numpy().copy() for name, p in trainable.items()}
        norms[s] = torch.nn.utils.clip_grad_norm_(trainable.values(), CLIP, foreach=False).item()
        optimizer.step()
        losses[s], penalties[s] = loss.item(), (output.loss - loss).item()
        if s + 1 < end:
            config.rank_pattern = None  # PEFT keeps the last one; what this step decides is wanted
        if s + 1 == end:
            leads.append(smallest_lead(allocator, inner, allocator.target_bgt))
        adalora.update_and_allocate(s + 1)
        if s + 1 == end - 1:
            for kind, of in (("sensitivity", allocator.exp_avg_ipt), ("uncertainty", allocator.exp_avg_unc)):
                result |= {f"{kind}.{plain(name)}": value.numpy().copy() for name, value in of.items()}
        pattern = config.rank_pattern
        if pattern and s + 1 < end:
            leads.append(smallest_lead(allocator, inner, allocator.budget_schedule(s + 1)[0]))
        for name, p in inner.named_parameters():
            if "lora_E" not in name:
                continue
            module = plain(name).removesuffix(".lora_E")
            result[f"E.{module}"][s] = p.detach().numpy().ravel()
            if pattern:
                result[f"kept.{module}"][s] = pattern[name]
    result |= {f"final.{name}": p.detach().numpy() for name, p in trainable.items()}
    assert norms.min() < CLIP < norms.max(), f"clipping acts always or never: {norms}"
    assert min(leads) > 1e-3, f"a near-tie: {leads}"
    save_file(result | {"losses": losses, "penalties": penalties, "grad_norms": norms},
              fixture / "expected.adalora.safetensors")
    adapter = fixture / "adapter"
    peft_model.save_pretrained(adapter)
    (adapter / "README.md").unlink(missing_ok=True)
    saved = json.loads((adapter / "adapter_config.json").read_text())
    saved |= dict(base_model_name_or_path="model", target_modules=sorted(saved["target_modules"]))
    (adapter / "adapter_config.json").write_text(json.dumps(saved, indent=1, sort_keys=True) + "\n")
    for name in ("losses", "penalties", "norms"):
        print(name, locals()[name].round(4))
    print("budgets", [allocator.budget_schedule(s + 1) for s in range(steps)], "leads", np.round(leads, 4))
    for module in modules:
        print(module, [int((kept == 1).sum()) for kept in result[f"kept.{module}"]])


if __name__ == "__main__":
    main()
