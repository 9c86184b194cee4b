"""Tiny random Llama and Mistral checkpoints with the numbers transformers computes from them.

    python models.py --out ../../test/fixtures/models [--only NAME…] [--self-check]

For each case, in <out>/<name>/:
  config.json, generation_config.json, model.safetensors   as `save_pretrained` of transformers 5 writes them
  config.v4.json           the same meaning as transformers 4 wrote it (see `config_v4`)
  expected.safetensors     computed in float32 from the stored weights, eager attention, one thread:
    input_ids [B,T] i32, logits [B,T,V], loss [1] (mean over B·(T-1) shifted tokens), grad.<parameter> of that loss,
    hidden.<l> [B,T,D] residual stream entering block l, and for l = L leaving the last block, before the final norm,
    angular [L+1,L+1]: [i,j], i < j, is arccos(cos(hidden.i, hidden.j)) / pi at the last token, averaged over B; else 0,
    angular_all_tokens [L+1,L+1]: the same averaged over all B·T tokens,
    greedy.prompt [B,P] i32, greedy.generated [B,N] i32 (new tokens only; KV cache),
    greedy_no_cache.generated [B,N] i32, only where full recomputation gives other tokens (dynamic RoPE).
  source.json              versions, seed, command, notes
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from self_check import self_check

BATCH, TOKENS, PROMPT, NEW_TOKENS = 2, 20, 6, 12

TINY = dict(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5)
WIDE_HEADS = dict(num_attention_heads=2, num_key_value_heads=1, head_dim=8)  # four rotated pairs per head
DYNAMIC_NOTE = (
    "max_position_embeddings 8 < T, so the frequencies depend on the length of the sequence. transformers takes them "
    "from the longest position of each forward call: a logits call over T tokens uses those of length T for every "
    "position. With a KV cache, keys rotated at earlier lengths stay as they were cached while the new query and key "
    "use the new length; so cached greedy decoding is not the same function as recomputing the whole prefix. "
    "greedy.generated has the cache (prefill at length P, then one token at a time), greedy_no_cache.generated calls "
    "the model on the whole prefix each time. A model object also remembers the longest length it has seen: every "
    "quantity here comes from a freshly loaded model.")

# name: family, overrides of TINY, stored dtype, seed (such that greedy decoding meets no end token and no near-tie)
CASES = {
    "llama-mha": ("llama", dict(num_key_value_heads=4), "float32", 1),
    "llama-gqa": ("llama", dict(num_hidden_layers=3), "float32", 102),
    "llama-gqa-bf16": ("llama", dict(), "bfloat16", 201),
    "llama-tied": ("llama", dict(tie_word_embeddings=True), "float32", 302),
    "llama-head-dim": ("llama", dict(head_dim=6), "float32", 401),
    "llama-bias": ("llama", dict(attention_bias=True, mlp_bias=True), "float32", 505),
    "llama-rope-linear": ("llama", dict(rope_parameters=dict(
        rope_type="linear", rope_theta=10000.0, factor=4.0)), "float32", 602),
    "llama-rope-dynamic": ("llama", dict(WIDE_HEADS, max_position_embeddings=8, rope_parameters=dict(
        rope_type="dynamic", rope_theta=10000.0, factor=2.0)), "float32", 704),
    # Wavelengths 6.3, 19.9, 62.8, 198.7 against the bounds 64/4 and 64/1: kept, blended, blended, divided.
    "llama-rope-llama3": ("llama", dict(WIDE_HEADS, max_position_embeddings=512, rope_parameters=dict(
        rope_type="llama3", rope_theta=100.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=64)), "float32", 802),
    "mistral-gqa": ("mistral", dict(sliding_window=None), "float32", 903),
    "mistral-gqa-f16": ("mistral", dict(sliding_window=None), "float16", 1003),
    "mistral-window": ("mistral", dict(sliding_window=6), "float32", 1103),
    "mistral-head-dim": ("mistral", dict(sliding_window=None, head_dim=6), "float32", 1201),
}


def random_model(family: str, overrides: dict, seed: int) -> torch.nn.Module:
    """Weights wide enough that logits are not flat: matrices and biases N(0, 0.3), norms N(1, 0.2)."""
    Config, Model = {"llama": (LlamaConfig, LlamaForCausalLM), "mistral": (MistralConfig, MistralForCausalLM)}[family]
    model = Model(Config(**(TINY | overrides), attn_implementation="eager"))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            mean, std = (1.0, 0.2) if name.endswith("norm.weight") else (0.0, 0.3)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std + mean)
    return model


def reproducible() -> None:
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()


def versions() -> dict[str, str]:
    return dict(python=sys.version.split()[0], torch=torch.__version__, transformers=transformers.__version__,
                numpy=np.__version__)


def load(directory: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()


def config_v4(config: dict) -> dict:
    """transformers 5 config.json -> what version 4 wrote. `dtype` was `torch_dtype`; `rope_parameters` was split into
    `rope_theta` and `rope_scaling` (null for the default variant; its kind under `rope_type`, in early releases `type`,
    kept here for linear); `head_dim` was absent where it equals hidden_size / num_attention_heads."""
    v4 = {key: value for key, value in config.items() if key not in ("dtype", "rope_parameters")}
    rope = dict(config["rope_parameters"])
    v4 |= dict(torch_dtype=config["dtype"], rope_theta=rope.pop("rope_theta"), transformers_version="4.57.1")
    kind = rope.pop("rope_type")
    v4["rope_scaling"] = None if kind == "default" else {"type" if kind == "linear" else "rope_type": kind, **rope}
    if v4["head_dim"] * v4["num_attention_heads"] == v4["hidden_size"]:
        del v4["head_dim"]
    return dict(sorted(v4.items()))


def angular(stream: list[np.ndarray], last_token: bool) -> np.ndarray:
    """Gromov et al., arXiv:2403.17887, between every pair of residual states, [L+1,L+1], in units of pi, in float64."""
    states = [(h[:, -1] if last_token else h.reshape(-1, h.shape[-1])).astype(np.float64) for h in stream]
    distances = np.zeros((len(states), len(states)))
    for i, a in enumerate(states):
        for j in range(i + 1, len(states)):
            b = states[j]
            cosine = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
            distances[i, j] = (np.arccos(np.clip(cosine, -1, 1)) / np.pi).mean()
    return distances.astype(np.float32)


def logits_loss_gradients(model: torch.nn.Module, ids: torch.Tensor) -> dict[str, np.ndarray]:
    stream, blocks = [], model.model.layers
    for block in blocks:
        block.register_forward_pre_hook(lambda _, args: stream.append(args[0].detach().numpy()))
    blocks[-1].register_forward_hook(lambda _m, _a, out: stream.append(out.detach().numpy()))
    result = model(input_ids=ids, labels=ids, use_cache=False)
    result.loss.backward()
    assert len(stream) == len(blocks) + 1
    expected = {"logits": result.logits.detach().numpy(), "loss": result.loss.detach().numpy().reshape(1)}
    expected |= {f"grad.{name}": p.grad.numpy() for name, p in model.named_parameters()}
    expected |= {f"hidden.{l}": h for l, h in enumerate(stream)}
    return expected | {"angular": angular(stream, True), "angular_all_tokens": angular(stream, False)}


def greedy(directory: Path, prompt: torch.Tensor, use_cache: bool) -> tuple[np.ndarray, float]:
    """New tokens, and the smallest lead of the chosen token's logit over the runner-up."""
    out = load(directory).generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, use_cache=use_cache, max_new_tokens=NEW_TOKENS,
        output_logits=True, return_dict_in_generate=True)
    new, top = out.sequences[:, prompt.shape[1]:], torch.stack(out.logits).topk(2).values
    ended = new.shape[1] < NEW_TOKENS or bool((new == 2).any())
    assert not ended, f"{directory.name}: greedy decoding meets an end token; take another seed"
    return new.int().numpy(), float((top[..., 0] - top[..., 1]).min())


def write_case(name: str, out: Path) -> None:
    family, overrides, dtype, seed = CASES[name]
    directory = out / name
    random_model(family, overrides, seed).to(getattr(torch, dtype)).save_pretrained(directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.v4.json").write_text(json.dumps(config_v4(config), indent=2) + "\n")
    ids = torch.from_numpy(np.random.default_rng(seed).integers(3, TINY["vocab_size"], (BATCH, TOKENS)))
    expected = {"input_ids": ids.int().numpy(), **logits_loss_gradients(load(directory), ids)}
    cached, lead = greedy(directory, ids[:, :PROMPT], use_cache=True)
    recomputed, lead_recomputed = greedy(directory, ids[:, :PROMPT], use_cache=False)
    expected |= {"greedy.prompt": ids[:, :PROMPT].int().numpy(), "greedy.generated": cached}
    dynamic = config["rope_parameters"]["rope_type"] == "dynamic"
    assert dynamic or (cached == recomputed).all(), f"{name}: the KV cache changes greedy decoding"
    if dynamic:
        expected["greedy_no_cache.generated"] = recomputed
    assert min(lead, lead_recomputed) > 2e-3, f"{name}: greedy decoding meets a near-tie ({lead}); take another seed"
    save_file({key: np.ascontiguousarray(value) for key, value in expected.items()}, directory / "expected.safetensors")
    source = dict(
        command=f"python tools/oracle/models.py --out test/fixtures/models --only {name}", seed=seed,
        versions=versions(),
        settings="float32 arithmetic, attn_implementation eager, deterministic algorithms, one thread",
        smallest_greedy_lead=round(min(lead, lead_recomputed), 5), **({"notes": DYNAMIC_NOTE} if dynamic else {}))
    (directory / "source.json").write_text(json.dumps(source, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--self-check", action="store_true",
                        help="compare what lies in --out with llama_f64.py; writes nothing")
    args = parser.parse_args()
    reproducible()
    for name in args.only:
        if args.self_check:
            print(f"{name:20}", "  ".join(f"{key} {error:.1e}" for key, error in self_check(args.out / name).items()))
        else:
            write_case(name, args.out)
            print(name, sum(file.stat().st_size for file in (args.out / name).iterdir()), "bytes")


if __name__ == "__main__":
    main()
