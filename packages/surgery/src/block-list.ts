import { PlanError } from "./errors.js";
import { limits } from "./plan.js";

/** `"21-24,30"` as [21, 22, 23, 24, 30]: increasing, none twice. Throws `PlanError`. */
export function parseBlockList(text: string): number[] {
  const refuse = (problem: string): never => {
    throw new PlanError(`blocks must be a list like 21-24,30: ${problem}`);
  };
  if (text.length > limits.textLength) refuse(`got ${text.length} characters`);
  const blocks = text.split(",").flatMap((part) => {
    const [, from = "", to = from] = /^\s*(\d{1,9})(?:\s*-\s*(\d{1,9}))?\s*$/.exec(part) ?? refuse(`got "${part}"`);
    if (Number(to) < Number(from)) refuse(`"${part}" ends before it begins`);
    if (Number(to) >= limits.blocks) refuse(`"${part}" is beyond ${limits.blocks} blocks`);
    return Array.from({ length: Number(to) - Number(from) + 1 }, (_, i) => Number(from) + i);
  });
  const sorted = blocks.toSorted((a, b) => a - b);
  const twice = sorted.find((block, i) => block === sorted[i + 1]);
  if (twice !== undefined) refuse(`block ${twice} is there twice`);
  return sorted;
}

/** Increasing blocks as people write them: `21-24,30`; the inverse of `parseBlockList`. */
export function formatBlockList(blocks: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const block of blocks) {
    const run = runs.at(-1);
    if (run !== undefined && run[1] + 1 === block) run[1] = block;
    else runs.push([block, block]);
  }
  return runs.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(",");
}
