"""Small BPE tokenizers with the ids and texts Python `tokenizers` gives for a fixed set of strings.

    python tokenizer_ids.py --out ../../packages/data/test/fixtures [--check DIR]

Trains on the repository's LICENSE and <out>/corpus.txt (written for this purpose) and writes, for each tokenizer NAME,
  <out>/NAME/tokenizer.json, tokenizer_config.json   as `Tokenizer.save` and `PreTrainedTokenizerFast` write them
  <out>/NAME/cases.json   "added": ids the post-processor puts before every text (checked here: it does nothing else),
                          "texts": for each row of texts.json [ids without added ones, decoded, decoded without specials],
                          "ids": the same for sequences of ids that no text produces (broken UTF-8, stray special tokens);
                          a text is null where it equals the one before it in the row (for "texts", the encoded text)
and <out>/texts.json: the strings; <out>/bpe-train-SPLIT.json: what BpeTrainer learns from the same text.
--check DIR loads the directory with transformers' AutoTokenizer and with tokenizers, and prints the ids of the fixed strings.

The file is not called tokenizers.py: beside other scripts that name would hide the library.
"""

import argparse
import hashlib
import json
import random
from pathlib import Path

import tokenizers
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = "python tools/oracle/tokenizer_ids.py --out packages/data/test/fixtures"
VOCAB_SIZE = 640
LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")

TEXTS = [
    "", " ", "  ", "   ", "     ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\r", " \n", "\n ", "\t\n", " \t \n \t ",
    "a", " a", "a ", "  a", "a  ", "   a   b   ", "a\nb", "a \nb", "a  \nb", "a\n b", "a \n  b", "a\n\n  b\n", "a\r\nb\r\n\r\nc", "a\tb\t\tc",
    "\u00a0", "a\u00a0b", "a \u00a0 b", "\u00a0\u00a0a", "a\u2003b\u2009c\u200ad", "a\u3000b", "a\u0085b", "\u0085", " \u0085 x", "a\u2028b\u2029c",
    "a\u200bb", "\ufeffa", "a\ufeffb", "a \ufeff b", "\ufeff", "a\u1680b", "a\u180eb", "\u000b\u000c", "a\u000bb\u000cc", "\u001c\u001d\u001e\u001f", "a\u001fb",
    "\u0000", "a\u0000b", "\u0001\u0002\u007f", "\u001b[0m", "\u0080\u009f",
    "Hello, world!", " Hello, world!", "Hello  world", "hello HELLO Hello hElLo", "The baker's birds", "THE BAKER'S BIRDS",
    "It's they're I'll we've I'm you'd he's", "IT'S THEY'RE I'LL WE'VE I'M YOU'D HE'S", "'s't're've'm'll'd", "it\u2019s", "x'\u017fy", "'\u017f", "'\u212a",
    "don't won't can't y'all'd've", "''", "'", "\"quoted\" 'single'",
    "0", "1", "12", "123", "1234", "12345", "1234567890", "3.14159", "1,250.00", "2021-07-04", "1 2 3", "\u0661\u0662\u0663\u0664", "\u00bd\u00b2\u2163", "\u0967\u0968\u0969\u096a",
    "x1y22z333w4444", "v2.10.3-rc1", "!!!", "?!?!", "...", "a...b", " ... ", "!\n", "!\r\n\r\n", "end.\n\nStart", "(a)[b]{c}<d>", "a_b__c", "$x^2$", "&amp;", "%d%%",
    "def f(x):\n    return x\n\n\nclass A:\n\tpass\n", "if (a) {\r\n  b();\r\n}\r\n", "    indented\n        more\n", "for (let i = 0; i < n; i++) {}",
    "caf\u00e9", "cafe\u0301", "e\u0301", "\u0301", " \u0301", "a\u0308\u0323", "\u1e69 s\u0323\u0307", "\ufb01 \ufb03", "\u00c5\u212b", "\uff21\uff22\uff23", "\u1112\u1161\u11ab \ud55c",
    "Gr\u00f6\u00dfe \u00dcbung", "\u0130stanbul \u0131", "Dvo\u0159\u00e1k", "na\u00efve r\u00e9sum\u00e9", "Ti\u1ebfng Vi\u1ec7t",
    "\U0001f600", "\U0001f600\U0001f600", "a\U0001f600b", " \U0001f600 ", "\U0001f44d\U0001f3fd", "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f \u2705", "\U0001f9ff\U0001fae0", "\U0001d54f\U0001d4b6", "\U00020000\U0002a6d6", "\U000e0041\U0010ffff", "\ue000",
    "\u4f60\u597d\uff0c\u4e16\u754c", "\u9762\u5305 \u5e08", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3002", "\ud55c\uad6d\uc5b4 \ubb38\uc7a5", "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u092a\u093e\u0920", "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "abc \u05d0\u05d1\u05d2 123 \u0628", "\u202eabc\u202c", "\u17cf\u1780\u17b6\u1793\u17cb",
    "\u2581", "\u2581a", "a\u2581b", "a \u2581 b", "\u2581\u2581", " \u2581", "\u2581 ", "<0x0A>", "<0xE4>", "<0xZZ>", "\u0120a", "\u010a", "\ufffd", "a\ufffd\ufffdb",
    "<s>", "</s>", "<unk>", "<s>a", "a<s>", "a <s> b", "<s> a</s>", "<s></s>", " <s> ", "<s><s>", "<s", "s>", "<S>", "a</s>b</s>c", "x<s>\ny", "<|end|>", "a <|end|> b",
    "<|begin_of_text|>hi<|end_of_text|>", "<|begin_of_text|><|begin_of_text|>", "a<|pad|>b", "  <|pad|>  b", "a\n<|pad|>\nb", "<|pad|><|pad|>", "<|pad|>", " <|pad|> ",
    "<tool>", "a<tool>b", "a <tool> b", "un<tool>believable", "<think> hm </think>", "\u2581<s>", "<s>\u2581",
    "unbelievable unbelievably", "aaaaaaaaaaaaaaaaaaaaaaaa", "abababababababab", "lllllllll", "----------------", "                        x", "\n\n\n\n\n\n\n\n\n\n",
    "http://example.org/path?query=1&x=y#top", "user@example.com", "C:\\path\\to\\file", "\\n\\t\\u0041", "{\"key\": [1, 2.5e-3, null]}",
]
ALPHABET = ("abcdeEtThHs 0123456789   \n\t.,;'\"()<>/_-\u00e9\u00df\u03b1\u0434\u05d0\u0628\u0939\u4f60\u306e\ud55c\u0301\u200d\ufe0f\u00a0\u2003\u3000\u0085\ufeff\u2581"
            "\U0001f600\U0001f44d\U0001f3fd\r\u2028\u0000\u001f\u00bd\u2163\u0663")


def random_texts(seed=7, count=90):
    """Strings over an alphabet of troublesome characters, and over all of Unicode."""
    rng = random.Random(seed)
    texts = ["".join(rng.choice(ALPHABET) for _ in range(rng.randint(1, 24))) for _ in range(count)]
    pieces = ["<s>", "</s>", "<|pad|>", "<|begin_of_text|>", "<tool>", " ", "  ", "\n", "the", " baker", "\u2581", "'s", "\u00e9", "\u0085", "\ufeff", "12345"]
    texts += ["".join(rng.choice(pieces) for _ in range(rng.randint(1, 10))) for _ in range(count // 2)]
    for _ in range(count // 3):
        # Unicode 3.2 and before has long been stable; surrogates are no text.
        points = [rng.choice([rng.randint(0, 0xD7FF), rng.randint(0xE000, 0xFFFF), rng.randint(0x10000, 0x1F9FF)]) for _ in range(8)]
        texts.append("".join(map(chr, points)))
    return texts


def special(content, **flags):
    return AddedToken(content, special=True, normalized=False, **flags)


def bos_template(bos, bos_id):
    return processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, bos_id)])


def train_sentencepiece_like(files):
    """Vocabulary of a Llama-2-like BPE: unk, bos, eos, 256 bytes, then characters and merges; ▁ only begins a word."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex("\u2581+[^\u2581\\n]*|\\n+|[^\u2581\\n]+"), "isolated"),
        pre_tokenizers.Split(Regex(r"\d"), "isolated")])
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, special_tokens=["<unk>", "<s>", "</s>", *byte_tokens],
                                  limit_alphabet=90, show_progress=False)
    tokenizer.train_from_iterator([Path(file).read_text() for file in files], trainer)  # train(files) would cut them into lines
    model = json.loads(tokenizer.to_str())["model"]
    # SentencePiece keeps the newline as a byte only, and runs of spaces as pieces.
    vocab = {token: index for token, index in model["vocab"].items() if "\n" not in token}
    merges = [tuple(pair) for pair in model["merges"] if "\n" not in "".join(pair)]
    for left in ["\u2581", "\u2581\u2581", "\u2581\u2581\u2581\u2581"]:
        vocab.setdefault(left + left, len(model["vocab"]) + len(left))
        if (left, left) not in merges:
            merges.append((left, left))
    vocab = {token: index for index, token in enumerate(sorted(vocab, key=vocab.get))}
    return vocab, merges


def llama2(files, variant):
    vocab, merges = train_sentencepiece_like(files)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if variant == "legacy":  # as in Llama-2 and Mistral-7B-v0.1
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    else:  # as transformers' legacy=false
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=variant == "split")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    if variant == "split":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([tokenizer.pre_tokenizer, pre_tokenizers.Digits(individual_digits=True)])
        tokenizer.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="first", split=True)
    tokenizer.add_special_tokens([special("<unk>"), special("<s>"), special("</s>")])
    if variant == "legacy":
        tokenizer.add_tokens([AddedToken("<tool>", normalized=True), AddedToken("<think>", normalized=False)])
    tokenizer.post_processor = bos_template("<s>", 1)
    return tokenizer, dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def byte_level(files, split, vocab_size=VOCAB_SIZE):
    tokenizer = Tokenizer(models.BPE())
    if split == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    bos, eos = "<|begin_of_text|>", "<|end_of_text|>"
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=[bos, eos], show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator([Path(file).read_text() for file in files], trainer)  # train(files) would cut them into lines
    return tokenizer, dict(bos_token=bos, eos_token=eos)


def byte_level_with_extras(files, split):
    tokenizer, config = byte_level(files, split)
    tokenizer.add_special_tokens([special("<|pad|>", lstrip=True, rstrip=True)])
    tokenizer.add_tokens([AddedToken("<tool>"), AddedToken("<think>", rstrip=True)])
    if split == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    else:
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=True), bos_template(config["bos_token"], 0)])
    return tokenizer, config


TOKENIZERS = {
    "llama2-legacy": lambda files: llama2(files, "legacy"),
    "llama2-metaspace": lambda files: llama2(files, "metaspace"),
    "llama2-split": lambda files: llama2(files, "split"),
    "gpt2-prefix": lambda files: byte_level_with_extras(files, "gpt2"),
    "llama3": lambda files: byte_level_with_extras(files, "llama3"),
}


def row(tokenizer, ids, text):
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    skipped = tokenizer.decode(ids, skip_special_tokens=True)
    return [ids, None if decoded == text else decoded, None if skipped == decoded else skipped]


def text_rows(tokenizer, texts, added):
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text).ids == added + ids, text
        yield row(tokenizer, ids, text)


def id_rows(tokenizer, seed=11, count=60):
    """Random ids: most of them from the first 300, where specials and single bytes live."""
    rng, size = random.Random(seed), tokenizer.get_vocab_size()
    for _ in range(count):
        ids = [rng.randrange(300 if rng.random() < 0.6 else size) for _ in range(rng.randint(0, 14))]
        yield row(tokenizer, ids, None)


def dumps(value):
    return json.dumps(value, separators=(",", ":"))


def lines(rows):
    return "[\n" + ",\n".join(map(dumps, rows)) + "\n]"


def write(path, provenance, **tables):
    body = "".join(',\n"%s": %s' % (name, text) for name, text in tables.items())
    path.write_text('{"provenance": %s%s}\n' % (json.dumps(provenance), body))


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def generate(out):
    files = [str(REPOSITORY / "LICENSE"), str(out / "corpus.txt")]
    provenance = dict(command=COMMAND, tokenizers=tokenizers.__version__,
                      corpus={Path(file).name: sha256(file) for file in files})
    texts = TEXTS + random_texts()
    write(out / "texts.json", provenance, texts=lines(texts))
    for name, build in TOKENIZERS.items():
        tokenizer, config = build(files)
        folder = out / name
        folder.mkdir(exist_ok=True)
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        config = dict(config, tokenizer_class="PreTrainedTokenizerFast", clean_up_tokenization_spaces=False)
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
        added = tokenizer.encode("").ids
        write(folder / "cases.json", provenance, added=dumps(added), texts=lines(text_rows(tokenizer, texts, added)),
              ids=lines(id_rows(tokenizer)))
    for split in ("gpt2", "llama3"):
        model = json.loads(byte_level(files, split)[0].to_str())["model"]
        write(out / f"bpe-train-{split}.json", provenance, vocab_size=dumps(VOCAB_SIZE),
              vocab=dumps(sorted(model["vocab"], key=model["vocab"].get)), merges=dumps(model["merges"]))


def check(directory):
    auto = transformers.AutoTokenizer.from_pretrained(directory)
    plain = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
    rows = [dict(text=text, auto=auto(text)["input_ids"], plain=plain.encode(text).ids) for text in TEXTS + random_texts()]
    print(json.dumps(dict(auto_class=type(auto).__name__, bos=auto.bos_token_id, eos=auto.eos_token_id, cases=rows)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--check", type=Path)
    options = parser.parse_args()
    if options.check:
        check(options.check)
    if options.out:
        generate(options.out.resolve())
