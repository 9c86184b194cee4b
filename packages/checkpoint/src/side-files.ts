import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/**
 * Files beside the weights that a model needs to be used and that surgery does not change: tokenizer, chat template,
 * generation settings, licence. Named one by one, because a checkpoint's folder may hold anything else (other weight
 * formats, optimizer states, code) and its README and provenance are about another model.
 */
const wanted: readonly RegExp[] = [
  /^(generation_config|special_tokens_map|added_tokens|vocab|chat_template|processor_config|preprocessor_config)\.json$/,
  /^tokenizer[\w.-]*\.(json|model)$/,
  /^(tokenizer\.model|tekken\.json)(\.v\d+)?$/,
  /^(merges|vocab)\.txt$/,
  /^[\w.-]+\.jinja$/,
  /^(LICENSE|LICENCE|NOTICE|USE_POLICY)(\.(txt|md))?$/i,
];

/** What else of a model's directory is its own: surgery makes them anew, a copy of the model takes them along. */
const own: readonly string[] = ["config.json", "provenance.json", "README.md"];

/** Whether a file of this name belongs to a model beside its weights. No such name leads out of its directory. */
export function isModelFile(name: string): boolean {
  return own.includes(name) || wanted.some((pattern) => pattern.test(name));
}

export interface SideFiles {
  /** Plain names, sorted. */
  readonly copied: readonly string[];
  /** What else lies there and is left behind, other than weights, config and provenance. Sorted. */
  readonly left: readonly string[];
  readonly bytes: number;
}

const replaced = /^(config\.json|provenance\.json|README\.md|.*\.safetensors(\.index\.json)?)$/;

/** As {@link listSideFiles}, with the files that are the model's own. */
export async function listModelFiles(dir: string): Promise<SideFiles> {
  const side = await listSideFiles(dir);
  const copied = [...side.copied];
  let { bytes } = side;
  for (const name of own) {
    const info = await stat(join(dir, name)).catch(() => undefined);
    if (info?.isFile() !== true) continue;
    copied.push(name);
    bytes += info.size;
  }
  return { copied: copied.sort(), left: side.left, bytes };
}

/** Lists a checkpoint directory. Symbolic links count as what they lead to; only regular files are copied. */
export async function listSideFiles(dir: string): Promise<SideFiles> {
  const copied: string[] = [];
  const left: string[] = [];
  let bytes = 0;
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    if (replaced.test(entry.name)) continue;
    const size = wanted.some((pattern) => pattern.test(entry.name)) ? await regularFileSize(dir, entry) : undefined;
    if (size === undefined) {
      left.push(entry.name);
    } else {
      copied.push(entry.name);
      bytes += size;
    }
  }
  return { copied: copied.sort(), left: left.sort(), bytes };
}

async function regularFileSize(dir: string, entry: Dirent): Promise<number | undefined> {
  if (!entry.isFile() && !entry.isSymbolicLink()) return undefined;
  const info = await stat(join(dir, entry.name)).catch(() => undefined);
  return info?.isFile() === true ? info.size : undefined;
}
