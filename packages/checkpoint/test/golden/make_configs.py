"""What Transformers makes of config.json files of Llama and Mistral, versions 4 and 5.

    pip install torch==2.13.0 transformers==5.18.0     (or transformers==4.57.6)
    python packages/checkpoint/test/golden/make_configs.py

writes configs-<version>.json: per case the JSON that Transformers writes (or a short JSON given here), the values that
Transformers reads back from it, and the names and shapes of the model's parameters (small cases only). `pnpm format` lays the file out.
"""

import json
import pathlib

import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

SMALL = dict(vocab_size=50, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
V5 = transformers.__version__.startswith("5.")


def rope(theta, **scaling):
    """The arguments that set a rope in this version."""
    if V5:
        return dict(rope_parameters={"rope_theta": theta, **({"rope_type": "default"} | scaling)})
    return dict(rope_theta=theta, **({"rope_scaling": scaling} if scaling else {}))


WRITTEN = {
    "llama, all defaults": LlamaConfig(),
    "mistral, all defaults": MistralConfig(),
    "llama, MHA": LlamaConfig(**SMALL),
    "llama, GQA, tied": LlamaConfig(**SMALL, num_key_value_heads=2, tie_word_embeddings=True),
    "llama, explicit head_dim": LlamaConfig(**SMALL, num_key_value_heads=1, head_dim=10),
    "llama, biases": LlamaConfig(**SMALL, num_key_value_heads=2, attention_bias=True, mlp_bias=True),
    "llama, theta": LlamaConfig(**SMALL, **rope(500000.0)),
    "llama, linear": LlamaConfig(**SMALL, **rope(10000.0, rope_type="linear", factor=2.5)),
    "llama, dynamic": LlamaConfig(**SMALL, **rope(20000.0, rope_type="dynamic", factor=4.0), max_position_embeddings=64),
    "llama, llama3": LlamaConfig(**SMALL, **rope(500000.0, **LLAMA3), max_position_embeddings=512),
    "llama, tokens": LlamaConfig(**SMALL, bos_token_id=None, eos_token_id=[3, 4], pad_token_id=5),
    "llama, no eos": LlamaConfig(**SMALL, eos_token_id=None),
    "llama, numbers": LlamaConfig(**SMALL, rms_norm_eps=1e-05, initializer_range=0.5, dtype=torch.bfloat16),
    "mistral, GQA, window": MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=7),
    "mistral, no window": MistralConfig(**SMALL, num_key_value_heads=4, sliding_window=None),
    "mistral, tied, head_dim": MistralConfig(**SMALL, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True),
    "mistral, linear": MistralConfig(**SMALL, num_key_value_heads=2, **rope(1000.0, rope_type="linear", factor=3.0)),
}

BY_HAND = {
    "by hand: llama, nothing else": {"model_type": "llama"},
    "by hand: mistral, nothing else": {"model_type": "mistral"},
    "by hand: mistral, nulls": {"model_type": "mistral", "sliding_window": None, "head_dim": None},
    "by hand: old spelling": {"model_type": "llama", **SMALL, "rope_theta": 5000.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
    "by hand: torch_dtype": {"model_type": "llama", **SMALL, "torch_dtype": "float16"},
    "by hand: window in llama": {"model_type": "llama", **SMALL, "sliding_window": 16},
}

if not V5:  # version 5 refuses it
    BY_HAND["by hand: mistral, null kv heads"] = {"model_type": "mistral", **SMALL, "num_key_value_heads": None}


def read_rope(config):
    given = (config.rope_parameters if V5 else getattr(config, "rope_scaling", None)) or {}
    kind = given.get("rope_type", given.get("type", "default"))
    theta = given["rope_theta"] if V5 else config.rope_theta
    names = {
        "linear": {"factor": "factor"},
        "dynamic": {"factor": "factor"},
        "llama3": {
            "factor": "factor",
            "low_freq_factor": "lowFreqFactor",
            "high_freq_factor": "highFreqFactor",
            "original_max_position_embeddings": "originalMaxPositionEmbeddings",
        },
    }.get(kind, {})
    return {"type": kind, "theta": theta, **{ours: given[theirs] for theirs, ours in names.items()}}


def describe(text):
    raw = json.loads(text)
    config = {"llama": LlamaConfig, "mistral": MistralConfig}[raw["model_type"]].from_dict(json.loads(text))
    eos = config.eos_token_id
    dtype = config.dtype
    expected = {
        "family": config.model_type,
        "vocabSize": config.vocab_size,
        "hiddenSize": config.hidden_size,
        "intermediateSize": config.intermediate_size,
        "blocks": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "kvHeads": config.num_key_value_heads,
        "headDim": config.head_dim or config.hidden_size // config.num_attention_heads,
        "maxPositionEmbeddings": config.max_position_embeddings,
        "rmsNormEps": config.rms_norm_eps,
        "tieWordEmbeddings": config.tie_word_embeddings,
        "rope": read_rope(config),
        # LlamaAttention does not look at it, whatever the file says.
        "slidingWindow": config.sliding_window if config.model_type == "mistral" else None,
        "attentionBias": getattr(config, "attention_bias", False),
        "mlpBias": getattr(config, "mlp_bias", False),
        "hiddenAct": config.hidden_act,
        "bosTokenId": config.bos_token_id,
        "eosTokenIds": eos if isinstance(eos, list) else [] if eos is None else [eos],
        "padTokenId": config.pad_token_id,
        "initializerRange": config.initializer_range,
        "dtype": "float32" if dtype is None else str(dtype).removeprefix("torch."),
    }
    if config.hidden_size > 100:
        return {"config": raw, "expected": expected}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shapes = {name: list(tensor.shape) for name, tensor in model.named_parameters()}  # a shared one comes once
    return {"config": raw, "expected": expected, "parameters": model.num_parameters(), "shapes": shapes}


texts = {name: config.to_json_string() for name, config in WRITTEN.items()}
texts |= {name: json.dumps(raw) for name, raw in BY_HAND.items()}
cases = {name: describe(text) for name, text in texts.items()}
lines = [f"  {json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items()]
out = pathlib.Path(__file__).parent / f"configs-{transformers.__version__}.json"
out.write_text("{\n" + ",\n".join(lines) + "\n}\n")
print(out.name, len(cases), "cases")
