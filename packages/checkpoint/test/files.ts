import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll } from "vitest";

import { CheckpointError } from "@slayer/checkpoint";

const made: string[] = [];
afterAll(async () => {
  for (const dir of made) await rm(dir, { recursive: true, force: true });
});

/** A fresh directory that is removed when the test file ends. */
export async function scratch(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "slayer-checkpoint-"));
  made.push(dir);
  return dir;
}

/** The bytes of a safetensors file, put together by hand: no part of the package is used. */
export function fileBytes(header: string | object, data: Uint8Array | number, claimedLength?: bigint): Uint8Array {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(claimedLength ?? BigInt(json.length));
  return Buffer.concat([prefix, json, typeof data === "number" ? Buffer.alloc(data) : data]);
}

/** A header entry. */
export function entry(dtype: string, shape: unknown, begin: number, end: number): object {
  return { dtype, shape, data_offsets: [begin, end] };
}

/** Write a file and give its path. */
export async function put(dir: string, name: string, content: string | Uint8Array | object): Promise<string> {
  const path = join(dir, name);
  const plain = typeof content === "string" || content instanceof Uint8Array;
  await writeFile(path, plain ? content : JSON.stringify(content));
  return path;
}

/** The CheckpointError that `action` must end with. */
export async function failure(action: () => unknown): Promise<CheckpointError> {
  try {
    await action();
  } catch (error) {
    if (error instanceof CheckpointError) return error;
    throw error;
  }
  throw new Error("expected a CheckpointError, nothing was thrown");
}

/** A config.json small enough to write all tensors: one block, D = 4, F = 6, V = 5. */
export const TINY = {
  model_type: "llama",
  vocab_size: 5,
  hidden_size: 4,
  intermediate_size: 6,
  num_hidden_layers: 1,
  num_attention_heads: 2,
};
