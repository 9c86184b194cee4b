import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expectedTensors, parseConfig } from "@slayer/checkpoint";
import { tinyJson } from "./tiny.js";

/** Checkpoint files written, read and rounded without any of the code under test. */

export type Dtype = "F32" | "F16" | "BF16";
export interface Stored {
  dtype: string;
  shape: readonly number[];
  bytes: Uint8Array;
}

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const width = (dtype: string): number => (dtype === "F32" ? 4 : 2);

/** All 2^16 values of a 16-bit float, by their bits. */
function valuesOf(dtype: "F16" | "BF16"): number[] {
  const view = new DataView(new ArrayBuffer(4));
  return Array.from({ length: 65536 }, (_, bits) => {
    if (dtype === "BF16") {
      view.setUint32(0, bits * 65536);
      return view.getFloat32(0);
    }
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = (bits & 1023) / 1024;
    if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
    return exponent === 0 ? sign * 2 ** -14 * fraction : sign * 2 ** (exponent - 15) * (1 + fraction);
  });
}
const tables = { F16: valuesOf("F16"), BF16: valuesOf("BF16") };

export function decode(dtype: string, bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / width(dtype) }, (_, i) =>
    dtype === "F32" ? view.getFloat32(4 * i, true) : (tables[dtype as "F16"][view.getUint16(2 * i, true)] as number),
  );
}

/** Nearest value, ties to even bits, found by bisection among the positive finite values. */
function nearestBits(dtype: "F16" | "BF16", value: number): number {
  const table = tables[dtype];
  const magnitude = Math.abs(value);
  let low = 0;
  let high = dtype === "F16" ? 0x7bff : 0x7f7f;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((table[middle] as number) <= magnitude) low = middle;
    else high = middle;
  }
  const below = magnitude - (table[low] as number);
  const above = (table[high] as number) - magnitude;
  const bits = below < above || (below === above && low % 2 === 0) ? low : high;
  return value < 0 || Object.is(value, -0) ? bits + 0x8000 : bits;
}

/** Rounds f64 values to f32, then to `dtype`. */
export function encode(dtype: string, values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * width(dtype)));
  for (const [i, value] of values.entries()) {
    if (dtype === "F32") view.setFloat32(4 * i, value, true);
    else view.setUint16(2 * i, nearestBits(dtype as "F16", Math.fround(value)), true);
  }
  return new Uint8Array(view.buffer);
}

/** The mean in f64, rounded to f32, then to the dtype. */
export function mean(tensors: readonly Stored[]): Uint8Array {
  const dtype = (tensors[0] as Stored).dtype;
  const values = tensors.map((tensor) => decode(tensor.dtype, tensor.bytes));
  const column = (i: number): number[] => values.map((tensor) => tensor[i] as number);
  return encode(
    dtype,
    (values[0] as number[]).map((_, i) => column(i).reduce((sum, value) => sum + value) / tensors.length),
  );
}

export async function writeSafetensors(file: string, tensors: ReadonlyMap<string, Stored>): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let end = 0;
  for (const [name, { dtype, shape, bytes }] of tensors) {
    header[name] = { dtype, shape, data_offsets: [end, end + bytes.length] };
    end += bytes.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  await writeFile(file, Buffer.concat([length, json, ...[...tensors.values()].map((tensor) => tensor.bytes)]));
}

/** All tensors of all safetensors files of a directory. */
export async function readTensors(dir: string): Promise<Map<string, Stored>> {
  const tensors = new Map<string, Stored>();
  for (const file of (await readdir(dir)).filter((name) => name.endsWith(".safetensors")).sort()) {
    const bytes = await readFile(join(dir, file));
    const data = 8 + Number(bytes.readBigUInt64LE());
    const header = JSON.parse(bytes.subarray(8, data).toString()) as Record<
      string,
      { dtype: string; shape: number[]; data_offsets: [number, number] }
    >;
    for (const [name, entry] of Object.entries(header)) {
      if (name === "__metadata__") continue;
      const {
        dtype,
        shape,
        data_offsets: [begin, end],
      } = entry;
      tensors.set(name, { dtype, shape, bytes: new Uint8Array(bytes.subarray(data + begin, data + end)) });
    }
  }
  return tensors;
}

/** Numbers of widely different sizes, so that rounding matters; the same for the same seed. */
function randomValues(count: number, seed: number): number[] {
  let state = seed;
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Array.from({ length: count }, () => (uniform() - 0.5) * 2 ** Math.floor(uniform() * 12 - 8));
}

export interface BaseOptions {
  json?: Record<string, unknown>;
  dtype?: Dtype;
  /** Dtype of single tensors. */
  dtypeOf?: (name: string) => Dtype | undefined;
  /** Number of files. */
  shards?: number;
  /** Tensors beyond those the model needs. */
  extra?: Record<string, readonly number[]>;
}

/** A small random checkpoint with a tokenizer, and with files that belong to no new checkpoint. */
export async function writeBase(dir: string, options: BaseOptions = {}): Promise<Map<string, Stored>> {
  const { dtype = "F32", shards = 1 } = options;
  const json = tinyJson(options.json);
  await mkdir(dir, { recursive: true });
  const tensors = new Map<string, Stored>();
  const shapes = [...expectedTensors(parseConfig(json, "config.json")), ...Object.entries(options.extra ?? {})];
  for (const [i, [name, shape]] of shapes.entries()) {
    const kind = options.dtypeOf?.(name) ?? dtype;
    const count = shape.reduce((product, size) => product * size, 1);
    tensors.set(name, { dtype: kind, shape, bytes: encode(kind, randomValues(count, i + 1)) });
  }
  if (shards === 1) {
    await writeSafetensors(join(dir, "model.safetensors"), tensors);
  } else {
    const parts = Array.from({ length: shards }, () => new Map<string, Stored>());
    for (const [i, [name, tensor]] of [...tensors].entries()) parts[i % shards]?.set(name, tensor);
    const weightMap: Record<string, string> = {};
    for (const [i, part] of parts.entries()) {
      const file = `model-0000${i + 1}-of-0000${shards}.safetensors`;
      await writeSafetensors(join(dir, file), part);
      for (const name of part.keys()) weightMap[name] = file;
    }
    await writeFile(join(dir, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map: weightMap }));
  }
  await writeFile(join(dir, "config.json"), JSON.stringify(json));
  await writeFile(join(dir, "tokenizer.json"), '{"model": {"type": "BPE"}}');
  await writeFile(join(dir, "real-tokenizer-config"), '{"tokenizer_class": "LlamaTokenizer"}');
  await symlink("real-tokenizer-config", join(dir, "tokenizer_config.json"));
  await symlink("nowhere", join(dir, "special_tokens_map.json"));
  await mkdir(join(dir, "vocab.json"));
  await writeFile(join(dir, "generation_config.json"), '{"do_sample": true}');
  await writeFile(join(dir, "chat_template.jinja"), "{{ messages }}");
  await writeFile(join(dir, "LICENSE"), "as you like");
  await writeFile(join(dir, "README.md"), "the base's own card");
  await writeFile(join(dir, "pytorch_model.bin"), "pickle");
  await writeFile(join(dir, "modeling.py"), "code");
  return tensors;
}
