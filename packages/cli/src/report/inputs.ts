import { readdir, stat } from "node:fs/promises";
import { basename, dirname, extname, join, relative, resolve } from "node:path";
import { PROVENANCE_FILE, readProvenance } from "@slayer/checkpoint";
import { parseScores } from "@slayer/importance";
import { parsePlan } from "@slayer/surgery";
import { UserError } from "../errors.js";
import { readText } from "../files.js";
import type { ReportData } from "./data.js";
import { parseMetrics } from "./metrics.js";
import { parseRanks } from "./ranks.js";
import { parseComparison } from "./comparison.js";

/** PEFT's; of interest where it is AdaLoRA's. */
const ADAPTER_FILE = "adapter_config.json";
/** In a directory only files of these names are looked for; a file that is given by itself is known by its content. */
const KNOWN_FILES = ["quickstart.json", "scores.json", "plan.json", PROVENANCE_FILE, "metrics.jsonl", ADAPTER_FILE];
/** A run directory's parent, with the run in it, and one more. */
const MAX_DEPTH = 2;
const MAX_FILE_BYTES = 64 * 2 ** 20;
const MAX_FILES = 200;
/** As in plans. */
const MAX_BLOCKS = 4096;

type Inputs = Required<Omit<ReportData, "title" | "reloadAfterSeconds" | "compare">> & {
  readonly files: readonly string[];
};

/**
 * Everything a report can show in the given files and directories.
 * @throws UserError for a file that is none of the known kinds, and what the parsers of its kind throw
 */
export async function readReportInputs(paths: readonly string[]): Promise<Inputs> {
  const found: { readonly file: string; readonly name: string }[] = [];
  for (const path of paths) {
    if (!(await stat(path)).isDirectory()) found.push({ file: path, name: nameOfFile(path) });
    else for (const file of await filesIn(path, 0)) found.push({ file, name: nameInDirectory(path, file) });
  }
  // A file that is named twice counts where it is named first.
  const places = found.map(({ file }) => resolve(file));
  const files = found.filter((_, i) => places.indexOf(places[i]!) === i);
  if (files.length > MAX_FILES) throw new UserError(`expected at most ${MAX_FILES} files, found ${files.length}`);
  const inputs = {
    files: files.map(({ file }) => file),
    scores: [] as Inputs["scores"][number][],
    surgeries: [] as Inputs["surgeries"][number][],
    runs: [] as Inputs["runs"][number][],
    ranks: [] as Inputs["ranks"][number][],
    comparisons: [] as Inputs["comparisons"][number][],
  };
  for (const { file, name } of files) {
    const same = files.filter((other) => other.name === name && basename(other.file) === basename(file));
    await readOne(file, same.length > 1 ? dirname(file) : name, inputs);
  }
  return inputs;
}

async function filesIn(dir: string, depth: number): Promise<string[]> {
  const entries = (await readdir(dir, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
  const here = KNOWN_FILES.filter((name) => entries.some((entry) => entry.name === name && entry.isFile()));
  const files: string[] = [];
  for (const file of here.map((name) => join(dir, name))) {
    // Other adapters than AdaLoRA's have nothing to show.
    if (basename(file) !== ADAPTER_FILE || (await readRanks(file)) !== null) files.push(file);
  }
  if (depth === MAX_DEPTH) return files;
  for (const entry of entries) {
    const hidden = entry.name.startsWith(".") || entry.name === "node_modules";
    if (entry.isDirectory() && !hidden) files.push(...(await filesIn(join(dir, entry.name), depth + 1)));
  }
  return files;
}

/** `runs/slayer/metrics.jsonl` is called `slayer`, `math-scores.json` is called `math-scores`. */
function nameOfFile(file: string): string {
  const known = KNOWN_FILES.includes(basename(file));
  return known ? basename(homeOf(resolve(file))) : basename(file, extname(file));
}

function nameInDirectory(root: string, file: string): string {
  return relative(root, homeOf(file)) || basename(resolve(root));
}

/** The directory that a file belongs to: of a run's adapter, which lies in `model`, the run's. */
function homeOf(file: string): string {
  const dir = dirname(file);
  return basename(file) === ADAPTER_FILE && basename(dir) === "model" ? dirname(dir) : dir;
}

async function readRanks(file: string) {
  return parseRanks(await readText(file, MAX_FILE_BYTES), file);
}

async function readOne(
  file: string,
  name: string,
  into: { [K in keyof Omit<Inputs, "files">]: Inputs[K][number][] },
): Promise<void> {
  if (basename(file) === PROVENANCE_FILE) {
    const provenance = await readProvenance(dirname(file));
    if (provenance === null) throw new UserError(`${file}: it has gone`);
    const sources = provenance.blocks.flatMap((block) => block.sources);
    const baseBlocks = 1 + sources.reduce((last, { block }) => Math.max(last, block), -1);
    if (Math.max(baseBlocks, provenance.blocks.length) > MAX_BLOCKS) {
      throw new UserError(`${file}: expected at most ${MAX_BLOCKS} blocks, found more`);
    }
    into.surgeries.push({ name, baseBlocks, ...provenance, notes: [] });
    return;
  }
  const text = await readText(file, MAX_FILE_BYTES);
  if (extname(file) === ".jsonl") {
    into.runs.push({ name, ...parseMetrics(text, file) });
    return;
  }
  const kind = kindOf(text, file);
  if (kind === "scores") into.scores.push({ name, scores: parseScores(text, file) });
  else if (kind === "adapter") {
    const ranks = parseRanks(text, file);
    if (ranks === null) throw new UserError(`${file}: expected an adapter of AdaLoRA's with its rank_pattern`);
    into.ranks.push({ name, ranks });
  } else if (kind === "plan") into.surgeries.push({ name, ...parsePlan(text, file) });
  else into.comparisons.push({ name, ...parseComparison(text, file) });
}

/** Which parser a JSON file is for; whether it really is what it seems, that parser says. */
function kindOf(text: string, file: string): "scores" | "plan" | "comparison" | "adapter" {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new UserError(`${file}: expected JSON: ${(cause as Error).message}`, { cause });
  }
  const has = (key: string): boolean => typeof value === "object" && value !== null && Object.hasOwn(value, key);
  if (has("metric")) return "scores";
  if (has("recipe") && has("blocks")) return "plan";
  if (has("runs")) return "comparison";
  if (has("peft_type")) return "adapter";
  const known = KNOWN_FILES.join(", ");
  throw new UserError(`${file}: expected the content of one of ${known}; it has the keys of none`);
}
