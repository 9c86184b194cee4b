import {
  type ChatTemplateSource,
  DocumentReader,
  expandPath,
  loadChatTemplate,
  type Preview,
  previewSource,
  type SourceReport,
  type SourceSpec,
  Tokenizer,
} from "@slayer/data";
import type { Recipe } from "./recipe.js";
import type { HeldOutText } from "./recipe-data.js";
import type { DataOptions } from "./training-data.js";

/** What an entry of the recipe's data is called. */
export const nameOf = (path: string | readonly string[]): string => (typeof path === "string" ? path : path.join(", "));
const places = (directory: string | undefined): string[] => [...(directory === undefined ? [] : [directory]), ""];

/** What to warn of where records were left out. */
export function describeBad(
  path: string,
  { records, badRecords, bad }: Omit<SourceReport, "heldOutBytes">,
): string | undefined {
  if (badRecords === 0) return undefined;
  const shown = bad.slice(0, 5).map(({ file, line, reason }) => `${file}:${line}: ${reason}`);
  const rest = badRecords > shown.length ? `; and ${badRecords - shown.length} more` : "";
  return `${path}: ${badRecords} of ${records} records left out: ${shown.join("; ")}${rest}`;
}

/** The one that the recipe names, or else the model's. */
export async function chatTemplate(
  { model, chat_template: own }: Pick<Recipe, "model" | "chat_template">,
  directory: string | undefined,
): Promise<ChatTemplateSource> {
  return loadChatTemplate(model, own === undefined ? undefined : (await expandPath(own, places(directory)))[0]);
}

/** Files and how they are read, of each entry of the recipe's data. */
export async function sourceSpecs(recipe: Recipe, directory: string | undefined): Promise<SourceSpec[]> {
  const template = recipe.stage === "sft" ? await chatTemplate(recipe, directory) : undefined;
  return Promise.all(
    recipe.data.map(async ({ path, text: field, layout, format }) => {
      const patterns = typeof path === "string" ? [path] : path;
      const files = (await Promise.all(patterns.map((pattern) => expandPath(pattern, places(directory))))).flat();
      const read = template ? { kind: "chat" as const, layout, template } : { kind: "text" as const, field };
      return { files, read, format, heldOut: recipe.held_out };
    }),
  );
}

/** The first `count` documents or conversations of each source as they are trained on, token by token; nothing is kept. */
export async function previewData(
  recipe: Recipe,
  count: number,
  options: Pick<DataOptions, "directory"> = {},
): Promise<{ path: string; examples: Preview[] }[]> {
  const tokenizer = await Tokenizer.load(recipe.model);
  const found = [];
  for (const [i, spec] of (await sourceSpecs(recipe, options.directory)).entries()) {
    const examples = await previewSource(spec, { tokenizer, directory: recipe.model }, count);
    found.push({ path: nameOf(recipe.data[i]!.path), examples });
  }
  return found;
}

/** The path of an entry of the recipe's `eval.perplexity`. */
export const heldOutPath = (entry: HeldOutText): string => (typeof entry === "string" ? entry : entry.path);

/** Its files. Throws a DataError where there are none. */
export async function heldOutFiles(entry: HeldOutText, directory: string | undefined): Promise<string[]> {
  return expandPath(heldOutPath(entry), places(directory));
}

/**
 * Held-out files as one run of ids, each document with the tokenizer's own post-processing, and their size in UTF-8. Throws a
 * DataError where more than the recipe's share of the records cannot be read.
 */
export async function heldOutIds(
  entry: HeldOutText,
  tokenizer: Tokenizer,
  { bad_records: maxBadShare }: Pick<Recipe, "bad_records">,
  { directory, warn }: Pick<DataOptions, "directory" | "warn">,
): Promise<{ ids: Int32Array; bytes: number }> {
  const { text: field = "text", format = "auto" } = typeof entry === "string" ? {} : entry;
  const reader = new DocumentReader(await heldOutFiles(entry, directory), { field, format, maxBadShare });
  const parts: Int32Array[] = [];
  let bytes = 0;
  for await (const { text } of reader) {
    parts.push(tokenizer.encode(text));
    bytes += Buffer.byteLength(text);
  }
  const left = describeBad(heldOutPath(entry), reader);
  if (left !== undefined) warn?.(left);
  const ids = new Int32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    ids.set(part, at);
    at += part.length;
  }
  return { ids, bytes };
}
