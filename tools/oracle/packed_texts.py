"""Small Parquet and Zstandard files written by pyarrow and zstandard, to be read by @slayer/data.

    python packed_texts.py --out ../../packages/data/test/fixtures/packed

Needs `pip install pyarrow zstandard`. Writes texts.json (the texts, and the versions), and the same texts as
  texts.CODEC.parquet     one column "text" (one null) in row groups of 7, for snappy, gzip, zstd, brotli, lz4, none; "plain" without dictionary
  chats.parquet           a column "messages", list<struct<role, content>>
  texts.jsonl.zst         three frames: with checksum and content size, streamed without size, and a skippable one between them
"""

import argparse
import json
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

TEXTS = [f"Text {i}: " + word * (1 + i % 5) for i, word in enumerate(["bread ", "Brot ", "パン ", "хлеб ", "🍞 ", "\n", "\"quoted\" ", "a\\b "] * 3)]
CHATS = [[{"role": "user", "content": f"What is {i} + {i}?"}, {"role": "assistant", "content": str(2 * i)}] for i in range(5)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": list(range(len(TEXTS) + 1)), "text": TEXTS + [None]})
    for codec in ["snappy", "gzip", "zstd", "brotli", "lz4", "none"]:
        pq.write_table(table, out / f"texts.{codec}.parquet", compression=codec, row_group_size=7)
    pq.write_table(table, out / "texts.plain.parquet", use_dictionary=False, data_page_version="2.0", row_group_size=7)
    message = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    pq.write_table(pa.table({"messages": pa.array(CHATS, message)}), out / "chats.parquet")

    lines = [json.dumps({"text": text}) + "\n" for text in TEXTS]
    first = zstandard.ZstdCompressor(write_checksum=True).compress("".join(lines[:10]).encode())
    skipped = struct.pack("<II", 0x184D2A53, 5) + b"skip!"
    streamed = zstandard.ZstdCompressor(level=19).compressobj()
    second = streamed.compress("".join(lines[10:]).encode()) + streamed.flush()
    (out / "texts.jsonl.zst").write_bytes(first + skipped + second)
    provenance = dict(command="python tools/oracle/packed_texts.py --out packages/data/test/fixtures/packed",
                      pyarrow=pa.__version__, zstandard=zstandard.__version__)
    (out / "texts.json").write_text(json.dumps(dict(provenance=provenance, texts=TEXTS, chats=CHATS), ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
