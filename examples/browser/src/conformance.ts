import { cases, runCase } from "@slayer/backend-conformance";
import { createWebgpuBackend } from "@slayer/backend-webgpu";
import { fusedOps } from "@slayer/tensor";

const status = document.querySelector("#status")!;
const results = document.querySelector("#results")!;

type Case = (typeof cases)[number];

/** The largest case of each op, in f32 and with bf16: enough to see that every kind of shader compiles and computes here. */
function largest(all: readonly Case[]): Case[] {
  const elements = ({ inputs }: Case) => inputs.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const kind = ({ op, inputs }: Case) => `${op} ${inputs.some(({ dtype }) => dtype === "bf16")}`;
  return [...new Map(all.toSorted((a, b) => elements(a) - elements(b)).map((c) => [kind(c), c])).values()];
}

function show(cells: readonly string[], outcome: string) {
  const row = results.appendChild(document.createElement("tr"));
  row.className = outcome;
  cells.forEach((text, i) => {
    const cell = row.appendChild(document.createElement("td"));
    cell.textContent = text;
    if (i >= 2) cell.className = "number";
  });
}

try {
  const backend = await createWebgpuBackend();
  // What this backend leaves out on purpose: fused ops that it does not ask for, and rounding that must be the same to the bit.
  const others = fusedOps.filter((op) => !backend.capabilities.fused?.includes(op));
  const all = cases.filter((c) => !c.bench && !others.includes(c.op) && c.attrs.stochastic !== true);
  const chosen = location.search === "?all" ? all : largest(all);
  const count = { passed: 0, failed: 0, unsupported: 0 };
  for (const kernelCase of chosen) {
    const result = await runCase(backend, kernelCase);
    count[result.status]++;
    const numbers =
      result.status === "unsupported"
        ? [result.reason]
        : [result.maxRelativeError.toExponential(1), kernelCase.tolerance.value.toExponential(1), ...result.problems];
    show([kernelCase.name, result.status, ...numbers], result.status);
    status.textContent = `${backend.capabilities.device}: ${count.passed + count.failed + count.unsupported} of ${chosen.length} cases…`;
  }
  const { passed, failed, unsupported } = count;
  status.textContent = `${backend.capabilities.device}: ${passed} passed, ${failed} failed, ${unsupported} unsupported`;
  document.body.dataset.done = JSON.stringify(count);
} catch (error) {
  status.textContent = (error as Error).message;
  document.body.dataset.done = JSON.stringify({ error: (error as Error).message });
}
