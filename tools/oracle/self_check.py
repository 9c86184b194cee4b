"""Checks fixtures of models.py against llama_f64.py, which shares no code with what produced them."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoModelForCausalLM

import llama_f64


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """max |a - b| / max |b|"""
    return float(np.abs(a - b).max() / np.abs(b).max())


def stored_weights(directory: Path) -> dict[str, np.ndarray]:
    with safe_open(directory / "model.safetensors", "pt") as file:
        return {name: file.get_tensor(name).double().numpy() for name in file.keys()}


def gradient_error(config: dict, weights: dict, expected: dict, rng: np.random.Generator) -> float:
    """Worst parameter: |(loss(w + h v) - loss(w - h v)) / 2h - <grad, v>| / (|grad| |v|), v the gradient plus noise."""
    worst = 0.0
    for name, weight in weights.items():
        gradient = expected[f"grad.{name}"].astype(np.float64)
        direction = gradient / np.linalg.norm(gradient) + rng.standard_normal(weight.shape) / np.sqrt(weight.size)
        moved = (weights | {name: weight + h * direction} for h in (1e-5, -1e-5))
        ahead, behind = (llama_f64.loss(config, w, expected["input_ids"]) for w in moved)
        slope, claimed = (ahead - behind) / 2e-5, float((gradient * direction).sum())
        worst = max(worst, abs(slope - claimed) / (np.linalg.norm(gradient) * np.linalg.norm(direction)))
    return worst


def angular_by_dot_products(stream: list[np.ndarray]) -> np.ndarray:
    """Strictly upper triangle of arccos(cosine)/pi between all states of the last token, averaged over B."""
    states = np.stack([h[:, -1] for h in stream], axis=1)  # [B,L+1,D]
    states /= np.linalg.norm(states, axis=-1, keepdims=True)
    return np.triu(np.arccos(np.clip(states @ states.transpose(0, 2, 1), -1, 1)).mean(0) / np.pi, k=1)


def greedy_by_recomputation(config: dict, weights: dict, prompt: np.ndarray, new_tokens: int) -> np.ndarray:
    ids = prompt
    for _ in range(new_tokens):
        ids = np.concatenate([ids, llama_f64.forward(config, weights, ids)[0][:, -1].argmax(-1)[:, None]], axis=1)
    return ids[:, prompt.shape[1]:]


def plain(config: dict) -> dict:
    """The same model without window and RoPE scaling."""
    rope = dict(rope_type="default", rope_theta=config["rope_parameters"]["rope_theta"])
    return config | dict(sliding_window=None, rope_parameters=rope)


def logits_under_v4_config(directory: Path, ids: np.ndarray) -> np.ndarray:
    config = AutoConfig.for_model(**json.loads((directory / "config.v4.json").read_text()))
    model = AutoModelForCausalLM.from_pretrained(
        directory, config=config, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return model.eval()(torch.from_numpy(ids).long()).logits.numpy()


def self_check(directory: Path, tolerance: float = 1e-5) -> dict[str, float]:
    """Errors per quantity; AssertionError when one exceeds the tolerance."""
    config = json.loads((directory / "config.json").read_text())
    weights, expected = stored_weights(directory), load_file(directory / "expected.safetensors")
    ids = expected["input_ids"]
    logits, stream = llama_f64.forward(config, weights, ids)
    assert {f"grad.{name}" for name in weights} == {key for key in expected if key.startswith("grad.")}
    errors = {
        "logits": relative_error(expected["logits"], logits),
        "loss": abs(float(expected["loss"][0]) / llama_f64.loss(config, weights, ids) - 1),
        "hidden": max(relative_error(expected[f"hidden.{l}"], h) for l, h in enumerate(stream)),
        "angular": float(np.abs(expected["angular"] - angular_by_dot_products(stream)).max()),
        "gradients": gradient_error(config, weights, expected, np.random.default_rng(0)),
        "v4_config": relative_error(logits_under_v4_config(directory, ids), expected["logits"]),
    }
    bad = {key: error for key, error in errors.items() if not error <= tolerance}
    assert not bad, f"{directory.name}: beyond {tolerance}: {bad}"
    if plain(config)["rope_parameters"] != config["rope_parameters"] or config.get("sliding_window"):
        errors["vs_plain"] = relative_error(llama_f64.forward(plain(config), weights, ids)[0], logits)
        assert errors["vs_plain"] > 1e-2, f"{directory.name}: its window or RoPE scaling changes nothing"
    generated = expected.get("greedy_no_cache.generated", expected["greedy.generated"])
    again = greedy_by_recomputation(config, weights, expected["greedy.prompt"], generated.shape[1])
    assert (again == generated).all(), f"{directory.name}: greedy decoding differs"
    return errors
