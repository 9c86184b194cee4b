"""Llama and Mistral forward pass in plain numpy float64, written from the papers' formulas.

It shares no code with transformers or torch: `models.py --self-check` uses it to make sure that a fixture says
what its config.json means. Dims: B batch, T tokens, D model, H heads, K kv heads, E head size, F ffn, V vocabulary.
Sources: RoPE arXiv:2104.09864; position interpolation arXiv:2306.15595 (linear); NTK-aware dynamic scaling and
llama3 frequency bands as released with their models; GQA arXiv:2305.13245; sliding window arXiv:2310.06825.
"""

import numpy as np


def rope_frequencies(config: dict, tokens: int) -> np.ndarray:
    """Angle per position for each pair of a head, [E/2]. `tokens` matters for the dynamic variant only."""
    rope = config["rope_parameters"]
    theta, kind, E = rope["rope_theta"], rope["rope_type"], config["head_dim"]
    exponents = np.arange(0, E, 2, dtype=np.float64) / E
    if kind == "dynamic":
        trained = config["max_position_embeddings"]
        stretch = rope["factor"] * max(tokens, trained) / trained - (rope["factor"] - 1)
        return (theta * stretch ** (E / (E - 2))) ** -exponents
    frequencies = theta**-exponents
    if kind == "linear":
        return frequencies / rope["factor"]
    if kind == "llama3":
        # Turns a pair makes within the trained context: many = keep, few = divide by factor, between = blend.
        turns = rope["original_max_position_embeddings"] * frequencies / (2 * np.pi)
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        keep = np.clip((turns - low) / (high - low), 0, 1)
        return frequencies * (keep + (1 - keep) / rope["factor"])
    assert kind == "default", f"rope_type {kind!r} is not covered"
    return frequencies


def rotate(x_BHTE: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Rotates pairs (i, i + E/2), the half-split layout of Hugging Face checkpoints."""
    angles_TE = np.arange(x_BHTE.shape[2])[:, None] * frequencies
    cos, sin = np.cos(angles_TE), np.sin(angles_TE)
    a, b = np.split(x_BHTE, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def attention(x_BTD: np.ndarray, linear, config: dict) -> np.ndarray:
    B, T, _ = x_BTD.shape
    E, H, K = config["head_dim"], config["num_attention_heads"], config["num_key_value_heads"]
    heads = lambda name, count: linear(x_BTD, name).reshape(B, T, count, E).transpose(0, 2, 1, 3)
    frequencies = rope_frequencies(config, T)
    q, k = rotate(heads("self_attn.q_proj", H), frequencies), rotate(heads("self_attn.k_proj", K), frequencies)
    k, v = (np.repeat(t, H // K, axis=1) for t in (k, heads("self_attn.v_proj", K)))
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(E)
    behind = np.arange(T)[:, None] - np.arange(T)[None, :]  # how far key s lies behind query t
    hidden = (behind < 0) | (behind >= (config.get("sliding_window") or T))
    scores = np.where(hidden, -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return linear((weights @ v).transpose(0, 2, 1, 3).reshape(B, T, H * E), "self_attn.o_proj")


def forward(config: dict, weights: dict, ids_BT: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logits [B,T,V], and the residual stream entering each block plus the one leaving the last, L+1 of [B,T,D]."""
    eps = config["rms_norm_eps"]
    x = weights["model.embed_tokens.weight"][ids_BT]
    stream = [x]
    for block in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{block}."

        def linear(x, name):
            return x @ weights[f"{prefix}{name}.weight"].T + weights.get(f"{prefix}{name}.bias", 0.0)

        x = x + attention(rms_norm(x, weights[prefix + "input_layernorm.weight"], eps), linear, config)
        y = rms_norm(x, weights[prefix + "post_attention_layernorm.weight"], eps)
        gate = linear(y, "mlp.gate_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(y, "mlp.up_proj"), "mlp.down_proj")
        stream.append(x)
    head = weights["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return rms_norm(x, weights["model.norm.weight"], eps) @ head.T, stream


def loss(config: dict, weights: dict, ids_BT: np.ndarray) -> float:
    """Mean over all B·(T-1) predictions of -log p(next token)."""
    logits = forward(config, weights, ids_BT)[0][:, :-1]
    top = logits.max(-1, keepdims=True)
    log_z = (top + np.log(np.exp(logits - top).sum(-1, keepdims=True)))[..., 0]
    return float((log_z - np.take_along_axis(logits, ids_BT[:, 1:, None], -1)[..., 0]).mean())
