import { cases, conformance, type KernelCase, runCase } from "@slayer/backend-conformance";
import { type Backend, ops } from "@slayer/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { backends } from "./backends.js";

/** Where a backend is missing, the title of its skipped tests says why. */
const present = Object.entries(backends).map(([name, backend]) => ({
  ...backend,
  title: backend.missing === undefined ? name : `${name}, not checked here: ${backend.missing}`,
}));

const stores = {
  none: [undefined],
  weights: [undefined, "bf16 weights"],
  all: [undefined, "bf16 weights", "bf16"],
} as const satisfies Record<string, readonly KernelCase["storage"][]>;

describe.for(present)("$title", ({ create, notSupported, bf16, stochastic, missing }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    if (missing === undefined) backend = await create();
  });
  afterAll(() => backend?.close());

  const checked = cases.filter((c) => !c.bench).map((c) => [c.name, c.tolerance.value, c] as const);

  it.skipIf(missing !== undefined).each(checked)("%s: relative error ≤ %s", async (_name, _tolerance, kernelCase) => {
    const result = await runCase(backend!, kernelCase);
    const lacking =
      notSupported.includes(kernelCase.op) ||
      (kernelCase.attrs.stochastic === true && !stochastic) ||
      !stores[bf16].some((storage) => storage === kernelCase.storage);
    const expected = lacking ? "unsupported" : "passed";
    expect({ status: result.status, problems: "problems" in result ? result.problems : [] }).toEqual({
      status: expected,
      problems: [],
    });
  });
});

describe("conformance", () => {
  it("yields one result per case, every op among them", async () => {
    const backend = await backends.reference!.create();
    const small = Object.keys(ops).map((op) => cases.find((c) => c.op === op)!);
    const results = [];
    for await (const result of conformance(backend, { cases: small })) results.push(result);
    expect(results.map((r) => r.case.op)).toEqual(Object.keys(ops));
    expect(new Set(results.map((r) => r.status))).toEqual(new Set(["passed"]));
  });
});
