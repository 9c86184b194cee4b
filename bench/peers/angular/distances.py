"""Angular distances as anyone would compute them with plain Transformers, for run.mjs to compare.

    python distances.py MODEL DATA.jsonl SEQUENCE_LENGTH THREADS

Prints one JSON document: for every choice of token, unit and last state the matrix [L+1][L+1] of mean distances. Texts are tokenised by the model's own tokenizer, cut into pieces of SEQUENCE_LENGTH that do not overlap; what
is left over of a text longer than that is dropped.
"""

import json
import sys

import numpy as np
import torch
import transformers

model_dir, data, length, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir)
model = transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()


def sequences():
    with open(data, encoding="utf-8") as file:
        for line in file:
            ids = tokenizer(json.loads(line)["text"])["input_ids"]
            if 0 < len(ids) <= length:
                yield ids
            for start in range(0, len(ids) - length + 1 if len(ids) > length else 0, length):
                yield ids[start : start + length]


def angles(states: np.ndarray) -> np.ndarray:
    """arccos of the cosine between states [S, tokens, D] in float64: [tokens, S, S], in radians."""
    unit = states.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    return np.arccos(np.clip(np.einsum("std,utd->tsu", unit, unit), -1, 1))


def raw_stream(ids: torch.Tensor) -> tuple[list[np.ndarray], np.ndarray]:
    """States entering each block and leaving the last, [T, D] each; and the last of hidden_states, which is normed."""
    seen: list[np.ndarray] = []
    keep = [block.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].numpy())) for block in model.model.layers]
    keep.append(model.model.layers[-1].register_forward_hook(lambda _m, _a, out: seen.append(out[0].numpy())))
    with torch.no_grad():
        hidden = model.model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
    for hook in keep:
        hook.remove()
    return seen, hidden[-1][0].numpy()


sums: dict[tuple[str, str], np.ndarray] = {}
tokens = {"last": 0, "mean": 0}
for ids in sequences():
    stream, normed = raw_stream(torch.tensor([ids]))
    for final in ("raw", "normed"):
        states = np.stack([*stream[:-1], stream[-1] if final == "raw" else normed])
        for token, rows in (("last", states[:, -1:]), ("mean", states)):
            sums[token, final] = sums.get((token, final), 0) + angles(rows).sum(0)
    tokens["last"] += 1
    tokens["mean"] += len(ids)

json.dump(
    {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__},
        "sequences": tokens["last"],
        "distances": {
            f"{token} {unit} {final}": (total / tokens[token] / (np.pi if unit == "pi" else 1)).tolist()
            for (token, final), total in sums.items()
            for unit in ("pi", "radians")
        },
    },
    sys.stdout,
)
