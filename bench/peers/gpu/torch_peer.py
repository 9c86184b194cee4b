"""The same on PyTorch: matrix products (cuBLASLt), attention (scaled_dot_product_attention), a large copy, and training steps of Llama SLayer 8B's
geometry with Transformers, random weights, the same blocks frozen, bf16, SDPA, fused AdamW. tools/gpu/run.sh runs
it beside ours; prints a table and writes OUT/peers-gpu-DEVICE.json.

    python3 bench/peers/gpu/torch_peer.py --out bench/results [--batch N,N] [--masters no,yes] [--parts kernels,step]

Steps come in two kinds. "no masters": everything is bf16, gradients and AdamW's moments too; less precise than ours, and less to move. "f32
masters": trained weights and moments are f32, autocast computes in bf16; gradients are kept in f32, those of matrices rounded to bf16 first (ours
are f32 sums, not rounded).
"""

import argparse
import gc
import json
import os
import re
import statistics
import time

import torch
import torch.nn.functional as F

LARGE = {
    "config": {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 38, "num_attention_heads": 32,
        "max_position_embeddings": 4096,
    },
    "length": 4096, "trained": [2, 5, 8, 11, 14, 17, 20, 23, 37], "device": "cuda",
}
TINY = {
    "config": {
        "vocab_size": 128, "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 2,
        "max_position_embeddings": 64,
    },
    "length": 32, "trained": [1, 2], "device": "cpu",
}


def seconds(body, repeats=20, samples=9):
    """Median over samples of the time of one call, by device events around `repeats` calls."""
    for _ in range(3):
        body()
    times = []
    for _ in range(samples):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            body()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000 / repeats)
    return statistics.median(times)


def kernels(tokens=16384, d=4096, f=11008, v=32000, heads=32, e=128, length=4096):
    rows = []

    def row(name, s, flops=0, moved=0):
        rows.append({"name": name, "seconds": s, "flops": flops / s, "bandwidth": moved / s})
        print(f"{name:44} {s * 1e6:12.1f} us {flops / s / 1e12:9.1f} TFLOP/s {moved / s / 1e9:9.0f} GB/s", flush=True)

    def random(*shape):
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

    # A device that has just begun is cooler, and faster, than one that works.
    a, b = random(tokens, d), random(d, d)
    seconds(lambda: a @ b.T)
    for m, n, k in [(tokens, d, d), (tokens, f, d), (tokens, d, f), (tokens, v, d)]:
        a, b = random(m, k), random(n, k)
        row(f"matmul NT {m}x{n}x{k}", seconds(lambda a=a, b=b: a @ b.T), 2 * m * n * k)
    a, b = random(tokens, f), random(f, d)
    row(f"matmul NN {tokens}x{d}x{f}", seconds(lambda: a @ b), 2 * tokens * d * f)
    a, b = random(tokens, f), random(tokens, d)
    row(f"matmul TN {f}x{d}x{tokens}", seconds(lambda: a.T @ b), 2 * tokens * d * f)
    batch = tokens // length
    for head_size in (e, 64):
        h = heads * e // head_size
        q, k, v_ = (random(batch, h, length, head_size).requires_grad_() for _ in range(3))
        dout = random(batch, h, length, head_size)
        product = 2 * batch * h * length * length * head_size / 2  # causal half
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
            forward = seconds(lambda: F.scaled_dot_product_attention(q, k, v_, is_causal=True), 5)

            def both():
                o = F.scaled_dot_product_attention(q, k, v_, is_causal=True)
                torch.autograd.grad(o, (q, k, v_), dout)

            together = seconds(both, 5)
        row(f"attention B{batch} T{length} H{h} E{head_size}", forward, 2 * product)
        row(f"attention forward and backward E{head_size}", together, 6 * product)
    x, y = random(tokens * f), random(tokens * f)
    row("copy", seconds(lambda: y.copy_(x)), 0, 2 * x.nbytes)
    return rows


def step(batch, masters, checkpointing, config, length, trained, device, steps=6):
    """Steps of continued pre-training, the same tokens each time. With `masters` trained weights are f32, and autocast makes bf16 copies of them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(rms_norm_eps=1e-5, tie_word_embeddings=False, use_cache=False, **config)
    config._attn_implementation = "sdpa"
    on_gpu = device == "cuda"
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.requires_grad_(False)
    for l in trained:
        model.model.layers[l].requires_grad_(True)
        if masters:
            model.model.layers[l].float()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    vocab = config.vocab_size
    ids = ((torch.arange(batch * length + 1) * 7919) % vocab).to(device)
    inputs, labels = ids[:-1].view(batch, length), ids[1:].view(batch, length)
    times, losses = [], []
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(steps):
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=masters):
            logits = model(input_ids=inputs).logits
        loss = F.cross_entropy(logits.view(-1, vocab).float(), labels.view(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        times.append(time.perf_counter() - start)
    s = statistics.median(times[1:])
    peak = torch.cuda.max_memory_allocated() if on_gpu else 0
    name = f"step, batch {batch}, {'f32 masters' if masters else 'no masters'}{', checkpointing' if checkpointing else ''}"
    print(f"{name}: {batch * length / s:.0f} tokens/s, {s * 1000:.0f} ms, peak memory {peak / 2**30:.2f} GiB, losses {losses}", flush=True)
    return {"name": name, "tokensPerSecond": batch * length / s, "secondsPerStep": s, "peakBytes": peak, "losses": losses, "batch": batch,
            "masters": masters, "checkpointing": checkpointing}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="a folder")
    parser.add_argument("--batch", default="1", help="sequences in a step; several with commas between")
    parser.add_argument("--masters", default="no,yes", help="whether trained weights have f32 masters; both with a comma between")
    parser.add_argument("--checkpointing", action="store_true", help="otherwise only where memory does not suffice")
    parser.add_argument("--parts", default="kernels,step")
    parser.add_argument("--tiny", action="store_true", help="steps of next to nothing on the CPU, to try the program")
    options = parser.parse_args()
    shape = TINY if options.tiny else LARGE
    result = {"device": "cpu" if options.tiny else torch.cuda.get_device_name(), "torch": torch.__version__, "steps": []}
    print(result["device"], result["torch"], flush=True)
    os.makedirs(options.out, exist_ok=True)
    out = os.path.join(options.out, f"peers-gpu-{re.sub('[^a-z0-9]+', '-', result['device'].lower())}.json")

    def save():
        with open(out, "w") as file:
            json.dump(result, file, indent=2)
        gc.collect()
        if not options.tiny:
            torch.cuda.empty_cache()

    if "kernels" in options.parts.split(",") and not options.tiny:
        result["kernels"] = kernels()
        save()
    if "step" in options.parts.split(","):
        for batch in options.batch.split(","):
            for masters in options.masters.split(","):
                for checkpointing in [True] if options.checkpointing else [False, True]:
                    try:
                        found = step(int(batch), masters == "yes", checkpointing, **shape)
                    except torch.cuda.OutOfMemoryError as error:
                        print(f"batch {batch}, masters {masters}, checkpointing {checkpointing}: {error}", flush=True)
                        save()
                        continue
                    result["steps"].append(found)
                    save()
                    break


if __name__ == "__main__":
    main()
