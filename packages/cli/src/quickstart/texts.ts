import { readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** Two kinds of real text that are on every machine where this package is installed, at versions its lockfile pins. */
export interface Texts {
  /** English prose: the documentation of Node.js, from the comments of @types/node (MIT). */
  prose: string[];
  /** TypeScript: the sources of zod (MIT). */
  code: string[];
}

const DOCUMENT_CHARACTERS = 4000;
/** Shorter comments are labels, not prose. */
const SHORTEST_COMMENT = 80;

/** Documents of about 4,000 characters, in a fixed order. */
export async function quickstartTexts(): Promise<Texts> {
  const comments: string[] = [];
  for (const file of await filesUnder(packageDirectory("@types/node"), ".d.ts"))
    comments.push(...docComments(await readFile(file, "utf8")));
  const code: string[] = [];
  const sources = await filesUnder(join(packageDirectory("zod"), "src"), ".ts");
  // Tests and the message tables of fifty languages repeat themselves too much to learn from.
  for (const file of sources.filter((path) => !/[/\\](tests|locales|benchmarks)[/\\]/.test(path))) {
    code.push(...inDocuments((await readFile(file, "utf8")).split("\n"), "\n"));
  }
  return { prose: inDocuments(comments, "\n\n"), code };
}

/** The text of documentation comments without stars, fenced code and tags. */
function docComments(source: string): string[] {
  return [...source.matchAll(/\/\*\*([\s\S]*?)\*\//g)]
    .map(([, body]) =>
      body!
        .replaceAll(/^\s*\* ?/gm, "")
        .replaceAll(/```[\s\S]*?```/g, "")
        .replaceAll(/^@.*$/gm, "")
        .replaceAll(/\n{3,}/g, "\n\n")
        .trim(),
    )
    .filter((text) => text.length >= SHORTEST_COMMENT);
}

/** Joins consecutive parts until a document is long enough. */
function inDocuments(parts: readonly string[], separator: string): string[] {
  const documents: string[] = [];
  let current: string[] = [];
  let length = 0;
  for (const part of parts) {
    current.push(part);
    length += part.length;
    if (length < DOCUMENT_CHARACTERS) continue;
    documents.push(current.join(separator));
    [current, length] = [[], 0];
  }
  if (length > 0) documents.push(current.join(separator));
  return documents;
}

function packageDirectory(name: string): string {
  return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
}

async function filesUnder(directory: string, extension: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true });
  return entries
    .filter((entry) => entry.endsWith(extension))
    .toSorted()
    .map((entry) => join(directory, entry));
}
