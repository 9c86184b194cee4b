import { open, stat } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointError, type ModelConfig, parseConfig, writeFileAtomic } from "@slayer/checkpoint";
import { UserError } from "./errors.js";

/** Reads a whole text file; its size is checked before anything is allocated. */
export async function readText(file: string, maxBytes: number): Promise<string> {
  const handle = await open(file, "r");
  try {
    const info = await handle.stat();
    if (!info.isFile()) throw new UserError(`${file}: expected a file`);
    if (info.size > maxBytes) throw new UserError(`${file}: expected at most ${maxBytes} bytes, it has ${info.size}`);
    const bytes = await handle.readFile();
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    // A failed read does not know its path, and a decoder does not know its file.
    if (error instanceof TypeError) throw new UserError(`${file}: expected UTF-8 text`, { cause: error });
    throw error;
  } finally {
    await handle.close();
  }
}

/** Refuses, before any long work, an output that exists. */
export async function refuseExisting(path: string, overwrite: boolean): Promise<void> {
  if (overwrite || !(await exists(path))) return;
  throw new UserError(`${path} exists already; give --overwrite to replace it, or choose another name`);
}

export async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

/** Writes a text file that appears whole or not at all. */
export async function writeOutput(path: string, text: string, overwrite: boolean): Promise<void> {
  await refuseExisting(path, overwrite);
  await writeFileAtomic(path, text);
}

export function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** A model's config.json, from its directory or from the file itself; the weights need not be there. */
export async function readModelConfig(model: string): Promise<ModelConfig> {
  const file = model.endsWith(".json") ? model : join(model, "config.json");
  const text = await readText(file, 2 ** 20);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError("bad-config", file, `not JSON: ${(cause as Error).message}`);
  }
  return parseConfig(json, file);
}
