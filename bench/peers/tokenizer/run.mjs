// Tokens per second beside Python's `tokenizers`, each on one core, on the same documents; ids must be equal.
//
//   node bench/peers/tokenizer/run.mjs --python PYTHON --tokenizer DIR [--tokenizer DIR …] [--train] [--rounds 3] [--document 4096] FILE…
//
// FILE…: UTF-8 text, cut into documents of about --document characters at ends of lines. DIR holds a tokenizer.json; with --train a
// first tokenizer is trained on the text by python_rate.py (byte-level, Llama-3's split, 32,000 tokens). Python runs with its thread
// pools off, `encode` one text after another and `encode_batch`; the faster of both counts. Seconds
// are of processor time, so other work on the machine disturbs little. Best of --rounds. Needs the built packages.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Tokenizer } from "../../../packages/data/dist/index.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: "string", default: "python3" },
    tokenizer: { type: "string", multiple: true, default: [] },
    train: { type: "boolean", default: false },
    rounds: { type: "string", default: "3" },
    document: { type: "string", default: "4096" },
  },
});
const script = fileURLToPath(new URL("./python_rate.py", import.meta.url));
const python = (...args) => execFileSync(values.python, [script, ...args], { encoding: "utf8", maxBuffer: 2 ** 26 });

const folder = mkdtempSync(join(tmpdir(), "tokenizer-rate-"));
try {
  const documents = positionals.flatMap((file) => cut(readFileSync(file, "utf8"), Number(values.document)));
  const text = join(folder, "documents.jsonl");
  writeFileSync(text, documents.map((document) => `${JSON.stringify(document)}\n`).join(""));
  const megabytes = documents.reduce((sum, document) => sum + Buffer.byteLength(document), 0) / 1e6;
  console.log(`${documents.length} documents, ${megabytes.toFixed(1)} MB`);
  const directories = [...values.tokenizer];
  if (values.train) {
    directories.unshift(join(folder, "trained"));
    python("train", "--text", text, "--out", directories[0]);
  }
  for (const directory of directories) await compare(directory, documents, text, megabytes);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function compare(directory, documents, text, megabytes) {
  const ids = join(folder, "ids.bin");
  const peer = JSON.parse(
    python("rate", "--tokenizer", directory, "--text", text, "--rounds", values.rounds, "--ids", ids),
  );
  const peerSeconds = Math.min(peer.one, peer.batch);
  let seconds = Infinity;
  let first;
  let found;
  for (let round = 0; round < Number(values.rounds); round++) {
    // A new one each time, so that its memory of words is empty, as Python's is in its first round only.
    const tokenizer = await Tokenizer.load(directory);
    const started = process.cpuUsage();
    found = documents.map((document) => tokenizer.encode(document, { addSpecialTokens: false }));
    const { user, system } = process.cpuUsage(started);
    const took = (user + system) / 1e6;
    first ??= took;
    seconds = Math.min(seconds, took);
  }
  const expected = readFileSync(ids);
  const ours = Buffer.concat(found.map((each) => Buffer.from(each.buffer, each.byteOffset, each.byteLength)));
  const tokens = ours.length / 4;
  console.log(
    `${directory}: ${ours.equals(expected) ? "equal ids" : "DIFFERENT IDS"}, ${tokens} tokens; ` +
      `ours ${(megabytes / seconds).toFixed(2)} MB/s, ${Math.round(tokens / seconds)} tokens/s (first round ${(megabytes / first).toFixed(2)} MB/s); ` +
      `tokenizers ${peer.version} ${(megabytes / peerSeconds).toFixed(2)} MB/s (encode ${(megabytes / peer.one).toFixed(2)}, ` +
      `encode_batch ${(megabytes / peer.batch).toFixed(2)}); ratio ${(peerSeconds / seconds).toFixed(2)}`,
  );
}

/** Pieces of at least `length` characters that end at an end of line, where the text has one. */
function cut(text, length) {
  const pieces = [];
  for (let start = 0; start < text.length;) {
    const newline = text.indexOf("\n", start + length);
    const end = newline < 0 ? text.length : newline + 1;
    pieces.push(text.slice(start, end));
    start = end;
  }
  return pieces;
}
