import { realpath } from "node:fs/promises";
import { isAbsolute, relative, resolve, sep } from "node:path";
import { PlanError } from "./errors.js";

/** Replacing the output must not remove an input: refuses an output that is the input's folder or one above it. */
export async function keepSafe(inputDir: string, outDir: string): Promise<void> {
  const input = await realpath(inputDir);
  const out = await realpath(outDir).catch(() => resolve(outDir));
  const fromOut = relative(out, input);
  const elsewhere = fromOut === ".." || fromOut.startsWith(`..${sep}`) || isAbsolute(fromOut);
  if (!elsewhere)
    throw new PlanError(`the output ${outDir} is or holds the input ${inputDir}; choose another directory`);
}
