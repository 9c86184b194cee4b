"""Rate of Python's `tokenizers` on one core, and a byte-level tokenizer trained for the comparison.

    python python_rate.py train --text FILE --out DIR [--vocab 32000]
    python python_rate.py rate --tokenizer DIR --text FILE --rounds N --ids FILE

`rate` reads documents (JSON strings, one a line), encodes them one after another with `encode` and prints the best round's seconds of processor time as JSON;
the ids of all documents go to --ids as int32.
"""

import argparse
import json
import os
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core
os.environ["RAYON_NUM_THREADS"] = "1"

import numpy as np
import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def documents(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def train(text, out, vocab):
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=["<|begin_of_text|>", "<|end_of_text|>"], show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(documents(text), trainer)
    os.makedirs(out, exist_ok=True)
    tokenizer.save(os.path.join(out, "tokenizer.json"))


def rate(directory, text, rounds, ids_file):
    tokenizer = Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))
    texts = documents(text)
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        encoded = [tokenizer.encode(each, add_special_tokens=False).ids for each in texts]
        seconds.append(time.process_time() - started)
        started = time.process_time()
        tokenizer.encode_batch(texts, add_special_tokens=False)
        seconds.append(time.process_time() - started)
    np.concatenate([np.array(ids, np.int32) for ids in encoded]).tofile(ids_file)
    print(json.dumps(dict(version=tokenizers.__version__, one=min(seconds[0::2]), batch=min(seconds[1::2]))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["train", "rate"])
    parser.add_argument("--text")
    parser.add_argument("--out")
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--tokenizer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ids")
    options = parser.parse_args()
    if options.what == "train":
        train(options.text, options.out, options.vocab)
    else:
        rate(options.tokenizer, options.text, options.rounds, options.ids)
