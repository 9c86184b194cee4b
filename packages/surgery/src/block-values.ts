import { PlanError } from "./errors.js";

/** How much each block of a model matters, as measured by anyone; plain data. */
export interface BlockValues {
  /** What was measured, and on how much, for the plan's notes. */
  readonly of?: string;
  /** One entry per block, in order; the larger the value, the more the block matters. */
  readonly blocks: readonly { readonly block: number; readonly value: number }[];
  /** For n = 1, 2, …: the run of n blocks from `start` on that does least, where whole runs were measured. */
  readonly runs?: readonly { readonly n: number; readonly start: number; readonly value: number }[];
}

/** A run of blocks and why it was chosen, for the plan's notes. */
export interface ChosenBlocks {
  readonly blocks: readonly number[];
  readonly reason: string;
}

/** Throws `PlanError` when the values are not those of a model of `depth` blocks. */
export function checkBlockValues({ blocks, runs = [] }: BlockValues, depth: number): void {
  if (blocks.length !== depth) {
    throw new PlanError(
      `the importance scores are of ${blocks.length} blocks, this model has ${depth}; measure this model`,
    );
  }
  for (const [i, { block, value }] of blocks.entries()) {
    if (block !== i || !Number.isFinite(value)) {
      throw new PlanError(`importance scores: want a number for block ${i}, got ${value} for block ${block}`);
    }
  }
  for (const { n, start } of runs) {
    const fits = Number.isSafeInteger(n) && n >= 1 && Number.isSafeInteger(start) && start >= 0 && start + n <= depth;
    if (!fits) throw new PlanError(`importance scores: a run of ${n} from block ${start} is not in ${depth} blocks`);
  }
}

/** The sums of every `size` consecutive values: entry s is that of blocks s … s + size − 1. */
function windowSums({ blocks }: BlockValues, size: number): number[] {
  const sum = (start: number): number =>
    blocks.slice(start, start + size).reduce((total, { value }) => total + value, 0);
  return Array.from({ length: Math.max(0, blocks.length - size + 1) }, (_, start) => sum(start));
}

/** Of the runs of `size` blocks that start in from … to, the one that matters most; among equals the shallowest. */
export function mostImportantRun(values: BlockValues, size: number, from: number, to: number): ChosenBlocks {
  const sums = windowSums(values, size);
  const [first, next] = places(from, to).toSorted((a, b) => (sums[b] as number) - (sums[a] as number) || a - b);
  return chosen(first as number, size, reasonOf(sums, first as number, next, "largest", to - from + 1));
}

/** Of the runs of `size` blocks that start in from … to, the one that matters least; among equals the deepest. */
export function leastImportantRun(values: BlockValues, size: number, from: number, to: number): ChosenBlocks {
  const sums = windowSums(values, size);
  const [first, next] = places(from, to).toSorted((a, b) => (sums[a] as number) - (sums[b] as number) || b - a);
  return chosen(first as number, size, reasonOf(sums, first as number, next, "smallest", to - from + 1));
}

const places = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

function reasonOf(
  sums: readonly number[],
  first: number,
  next: number | undefined,
  which: string,
  count: number,
): string {
  const sum = (start: number) => shown(sums[start] as number);
  if (next === undefined) return `sum ${sum(first)}, the only place`;
  return `sum ${sum(first)}, the ${which} of ${count} places; next is that from block ${next}, ${sum(next)}`;
}

/** The run of n blocks that was measured to do least, l*(n) of Gromov et al. (arXiv:2403.17887). */
export function measuredRun({ runs }: BlockValues, n: number): ChosenBlocks {
  const run = runs?.find((candidate) => candidate.n === n);
  if (run === undefined) {
    throw new PlanError(
      `the importance scores have no run of ${n} blocks (only angular distances measure runs); choose "lowest" instead`,
    );
  }
  return chosen(run.start, n, `at distance ${shown(run.value)}, the smallest of all runs of ${n}`);
}

/** The n blocks that matter least one by one; among equals the deepest. */
export function lowestBlocks({ blocks }: BlockValues, n: number): ChosenBlocks {
  const ascending = blocks.toSorted((a, b) => a.value - b.value || b.block - a.block);
  const lowest = ascending.slice(0, n);
  const text = ({ block, value }: { block: number; value: number }) => `${block} (${shown(value)})`;
  const next = ascending[n] === undefined ? "" : `; next is ${text(ascending[n])}`;
  return {
    blocks: lowest.map(({ block }) => block).toSorted((a, b) => a - b),
    reason: `the lowest values, in order: ${lowest.map(text).join(", ")}${next}`,
  };
}

function chosen(start: number, size: number, reason: string): ChosenBlocks {
  return { blocks: Array.from({ length: size }, (_, i) => start + i), reason };
}

/** Four digits are enough to compare; JSON data keep the rest. */
const shown = (value: number): string => String(Number(value.toPrecision(4)));
