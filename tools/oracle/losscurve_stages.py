"""200 steps of continued pre-training and of fine-tuning on conversations, in PyTorch + Transformers, on the batches that Slayer trains on.

    python losscurve_stages.py --out ../../test/fixtures/losscurve-stages

Needs the built packages. Writes model/ (a two-block llama with a tokenizer and a chat template), documents.jsonl, chats.jsonl, and for
each stage in expected.json: recipe, losses of all steps, gradient norms, learning rates. The batches come from dump_batches.mjs. What
stands in them is checked here against Transformers' own tokens: every conversation, with the ids and the assistant's mask of
apply_chat_template, once per epoch; for cpt that targets are the tokens that follow. Padded and foreign tokens are shut out by a 4-D
attention mask. losscurve.py says how the steps are defined.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from chat_masks import TEMPLATES
from losscurve import train
from models import load, random_model, reproducible, versions

REPOSITORY = Path(__file__).resolve().parents[2]
TOKENIZER = REPOSITORY / "packages/data/test/fixtures/llama3"
STEPS, VOCAB = 200, 648
COMMON = dict(trainable="all", steps=STEPS, clip=1.0, seed=3, batch=dict(sequences=4, micro=2))
RECIPES = {
    "cpt": COMMON | dict(stage="cpt", data=[dict(path="documents.jsonl")], sequence_length=16,
                         optimizer=dict(lr=3e-3, weight_decay=0.1), schedule=dict(name="cosine", warmup=0.02, final=3e-4)),
    "sft": COMMON | dict(stage="sft", data=[dict(path="chats.jsonl")], sequence_length=52,
                         optimizer=dict(lr=1e-3, weight_decay=0.0), schedule=dict(name="cosine", warmup=0.02, final=0.0)),
}


def write_data(out):
    text = (TOKENIZER.parent / "corpus.txt").read_text()
    documents = [line for line in text.split("\n") if len(line) > 20]
    (out / "documents.jsonl").write_text("".join(json.dumps(dict(text=line)) + "\n" for line in documents))
    words = "bread salt water flour oven dough baker loaf crust yeast".split()
    chats = []
    for i in range(60):
        turns = [dict(role="user", content=f"{words[i % 10]}?"), dict(role="assistant", content=f"the {words[(i * 7 + 3) % 10]}")]
        if i % 3 == 0:
            turns += [dict(role="user", content="and?"), dict(role="assistant", content=words[(i + 1) % 10])]
        chats.append(turns)
    (out / "chats.jsonl").write_text("".join(json.dumps(dict(messages=chat)) + "\n" for chat in chats))
    return chats


def batches_of(out, stage, recipe):
    with tempfile.TemporaryDirectory() as scratch:
        paths = dict(model=str(out / "model"), out=f"{scratch}/run", data=[dict(path=str(out / recipe["data"][0]["path"]))])
        Path(scratch, "recipe.json").write_text(json.dumps(recipe | paths))
        subprocess.run(["node", str(REPOSITORY / "tools/oracle/dump_batches.mjs"), f"{scratch}/recipe.json", str(STEPS), f"{scratch}/out"],
                       check=True)
        raw = np.fromfile(f"{scratch}/out", np.int32)
    raw = raw.reshape(STEPS, 4, recipe["batch"]["sequences"], recipe["sequence_length"])
    return {name: np.ascontiguousarray(raw[:, i]) for i, name in enumerate(["input_ids", "targets", "positions", "segments"])}


def check_cpt(batches):
    ids, targets = batches["input_ids"], batches["targets"]
    assert (targets[..., :-1] == ids[..., 1:]).all() and (targets >= 0).all() and (batches["segments"] == 0).all()


def check_sft(batches, chats, tokenizer):
    """Segments are conversations with Transformers' ids and masks, all of them equally often, but for the epoch that is under way."""
    found = Counter()
    for ids, targets, segments in zip(*(batches[key].reshape(-1, batches[key].shape[-1]) for key in ("input_ids", "targets", "segments"))):
        for segment in range(segments.max() + 1):
            at = segments == segment
            found[(tuple(ids[at].tolist()), tuple(targets[at].tolist()))] += 1
    expected = Counter()
    for chat in chats:
        out = tokenizer.apply_chat_template(chat, chat_template=TEMPLATES["lines"]["marked"], tokenize=True, return_dict=True,
                                            return_assistant_tokens_mask=True, add_special_tokens=False)
        ids, mask = out["input_ids"], out["assistant_masks"]
        targets = [token if scored else -100 for token, scored in zip(ids[1:], mask[1:])] + [-100]
        expected[(tuple(ids), tuple(targets))] += 1
    assert set(found) == set(expected), "other conversations, ids or masks"
    passes = [found[key] / expected[key] for key in expected]
    assert max(passes) - min(passes) <= 1, (min(passes), max(passes))
    real = (batches["segments"] >= 0).mean()
    assert real > 0.9, real
    return dict(passes=[min(passes), max(passes)], real_tokens=float(real))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out.resolve()
    reproducible()
    random_model("llama", dict(vocab_size=VOCAB, tie_word_embeddings=True), 11).save_pretrained(out / "model")
    for name in ["tokenizer.json", "tokenizer_config.json"]:
        shutil.copyfile(TOKENIZER / name, out / "model" / name)
    (out / "model/chat_template.jinja").write_text(TEMPLATES["lines"]["plain"])
    chats = write_data(out)
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    expected = dict(command="python tools/oracle/losscurve_stages.py --out test/fixtures/losscurve-stages", versions=versions(),
                    settings="float32, attn_implementation eager, deterministic algorithms, one thread")
    for stage, recipe in RECIPES.items():
        batches = batches_of(out, stage, recipe)
        checks = check_cpt(batches) if stage == "cpt" else check_sft(batches, chats, tokenizer)
        optimizer, schedule = recipe["optimizer"], recipe["schedule"]
        result = train(load(out / "model"), batches, ["all"], optimizer["lr"], schedule["final"], round(schedule["warmup"] * STEPS),
                       optimizer["weight_decay"], recipe["clip"], (0.9, 0.95), 1e-8)
        values = {key: [float(f"{x:.7g}") for x in result[key]] for key in ("losses", "grad_norms", "lrs")}
        expected[stage] = dict(recipe=recipe, checks=checks) | values
        print(stage, checks, "loss", values["losses"][0], "…", values["losses"][-1], "norms", min(values["grad_norms"]), max(values["grad_norms"]))
    (out / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
