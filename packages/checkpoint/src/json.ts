import { CheckpointError } from "./errors.js";
import type { CheckpointErrorCode } from "./errors.js";
import type { RangeFile } from "./files.js";

/** No JSON file of a checkpoint comes near this; upstream safetensors limits its own header to the same size. */
const MAX_JSON_BYTES = 100_000_000;

/** Code that walks a value recursively must not run out of stack. */
const MAX_DEPTH = 256;

/** Whole small file as bytes; its size is checked before anything is allocated. */
async function readSmallFile(file: RangeFile): Promise<Uint8Array> {
  if (file.size > MAX_JSON_BYTES) {
    const problem = `expected at most ${MAX_JSON_BYTES} bytes of JSON, the file has ${file.size}`;
    throw new CheckpointError("too-large", file.path, problem);
  }
  const bytes = new Uint8Array(file.size);
  await file.read(bytes, 0);
  return bytes;
}

/** The first key that an object of a valid JSON text holds twice, with the keys that lead to it; or null. No recursion. */
function duplicateKey(text: string, file: string, code: CheckpointErrorCode): string[] | null {
  const levels: { keys: Set<string> | null; key: string }[] = [];
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === "{") levels.push({ keys: new Set(), key: "" });
    else if (char === "[") levels.push({ keys: null, key: "" });
    else if (char === "}" || char === "]") levels.pop();
    if (levels.length > MAX_DEPTH) throw new CheckpointError(code, file, `nested more than ${MAX_DEPTH} levels deep`);
    if (char === '"') {
      const start = i++;
      while (text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
      let next = i + 1;
      while (next < text.length && " \t\r\n".includes(text[next] as string)) next++;
      const level = levels[levels.length - 1];
      if (text[next] !== ":" || level?.keys == null) continue;
      level.key = JSON.parse(text.slice(start, i + 1)) as string; // "\u0061" and "a" are one key
      if (level.keys.has(level.key)) return levels.flatMap((l) => (l.keys === null ? [] : [l.key]));
      level.keys.add(level.key);
    }
  }
  return null;
}

/** Python's json module writes these three, which are not JSON. */
const PYTHON_NUMBER = /"((?:[^"\\]|\\.)*)"\s*:\s*(NaN|-?Infinity)\b/;

/**
 * Parse UTF-8 JSON strictly: invalid UTF-8, NaN and Infinity literals and duplicate keys are errors.
 * @param tensorLevel the depth at which keys are tensor names, for the error about a key that stands there twice
 * @throws CheckpointError with `code`, or "duplicate-key"
 */
export function parseJson(bytes: Uint8Array, file: string, code: CheckpointErrorCode, tensorLevel?: number): unknown {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new CheckpointError(code, file, "expected UTF-8 text, the bytes are not valid UTF-8");
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const python = PYTHON_NUMBER.exec(text);
    const problem =
      python === null
        ? `not valid JSON (${error instanceof Error ? error.message : String(error)})`
        : `key ${JSON.stringify(python[1])} is ${python[2]}, which JSON cannot hold (Python writes it); give it a number`;
    throw new CheckpointError(code, file, problem);
  }
  const duplicate = duplicateKey(text, file, code);
  if (duplicate !== null) {
    const problem = `key ${duplicate.map((key) => JSON.stringify(key)).join(" > ")} stands there twice`;
    throw new CheckpointError(
      "duplicate-key",
      file,
      problem,
      tensorLevel === undefined ? undefined : duplicate[tensorLevel],
    );
  }
  return value;
}

/** Read and parse one JSON file; its size is limited. See {@link parseJson}. */
export async function readJsonFile(file: RangeFile, code: CheckpointErrorCode, tensorLevel?: number): Promise<unknown> {
  return parseJson(await readSmallFile(file), file.path, code, tensorLevel);
}

/** A JSON object, and not an array, null or scalar. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
