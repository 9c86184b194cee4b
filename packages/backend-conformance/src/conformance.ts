import type { Backend } from "@slayer/tensor";
import { cases as allCases, type KernelCase } from "./cases.js";
import { type CaseResult, runCase } from "./run-case.js";

export interface ConformanceOptions {
  /** Default: all but the bench's, which are too large to check each time. */
  cases?: Iterable<KernelCase>;
}

/**
 * Checks a backend case by case, yielding every result as it comes. A backend conforms if none is "failed"; whether
 * what is "unsupported" was expected is for the caller to say.
 */
export async function* conformance(backend: Backend, options: ConformanceOptions = {}): AsyncGenerator<CaseResult> {
  const { cases = allCases.filter((c) => !c.bench) } = options;
  for (const kernelCase of cases) yield await runCase(backend, kernelCase);
}
