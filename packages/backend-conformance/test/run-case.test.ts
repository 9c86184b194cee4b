import { cases, runCase } from "@slayer/backend-conformance";
import {
  type Backend,
  BackendError,
  type Buffer,
  createReferenceBackend,
  type Operand,
  type Plan,
} from "@slayer/tensor";
import { describe, expect, it } from "vitest";

const named = (name: string) => cases.find((c) => c.name === name)!;
const matmul = named("matmul NT 17×33×65");
const adamw = cases.find((c) => c.op === "adamw" && c.inputs[0]!.shape[0] === 257)!;

/** The reference backend, after whose every run `fault` may spoil its memory (arena, inputs, persistent). */
function spoiled(
  fault: (backend: Backend, plan: Plan, memory: readonly Buffer[], run: number) => Promise<void>,
): Backend {
  const reference = createReferenceBackend();
  const memory: Buffer[] = [];
  let runs = 0;
  return {
    ...reference,
    allocate(bytes) {
      memory.push(reference.allocate(bytes));
      return memory.at(-1)!;
    },
    async run(executable) {
      await reference.run(executable);
      await fault(reference, executable.plan, memory, ++runs);
    },
  };
}

/** The reference backend running another plan than it was given. */
function replanned(change: (plan: Plan) => Plan): Backend {
  const reference = createReferenceBackend();
  return { ...reference, prepare: (plan, bindings) => reference.prepare(change(plan), bindings) };
}

const offsetOf = ({ place }: Operand) => (place as { offset: number }).offset;

async function problemsOf(backend: Backend, kernelCase = matmul): Promise<string> {
  const result = await runCase(backend, kernelCase);
  expect(result.status).toBe("failed");
  return "problems" in result ? result.problems.join("\n") : "";
}

describe("runCase finds", () => {
  it("a value off by more than the tolerance, and reports how far (1e-9)", async () => {
    const backend = spoiled(async (b, plan, [arena]) => {
      const at = offsetOf(plan.outputs["output 0"]!);
      const values = new Float32Array((await b.read(arena!, at, 17 * 33 * 4)).buffer);
      const worst = values.reduce((max, v) => Math.max(max, Math.abs(v)), 0);
      await b.write(arena!, at, Float32Array.of(values[0]! + 0.001 * worst));
    });
    const result = await runCase(backend, matmul);
    expect(result).toMatchObject({ status: "failed" });
    expect(Math.abs((result as { maxRelativeError: number }).maxRelativeError - 0.001)).toBeLessThan(1e-6);
  });

  it("an output that is not written to its end", async () => {
    const backend = spoiled(async (b, plan, [arena]) => {
      const last = offsetOf(plan.outputs["output 0"]!) + (17 * 33 - 1) * 4;
      await b.write(arena!, last, Float32Array.of(NaN));
    });
    expect(await problemsOf(backend)).toContain("first run: output 0 is off by Infinity");
  });

  it("a write just beyond an output", async () => {
    const backend = spoiled(async (b, plan, [arena]) => {
      await b.write(arena!, offsetOf(plan.outputs["output 0"]!) + 17 * 33 * 4, Float32Array.of(0));
    });
    expect(await problemsOf(backend)).toContain("changed the memory after the last operand: 4 of");
  });

  it("a write just before an output", async () => {
    const backend = spoiled(async (b, plan, [arena]) => {
      await b.write(arena!, offsetOf(plan.outputs["output 0"]!) - 4, Float32Array.of(0));
    });
    expect(await problemsOf(backend)).toContain("changed the memory before output 0: 4 of");
  });

  it("a change to an operand that is only read", async () => {
    const backend = spoiled(async (b, plan, [arena]) => {
      await b.write(arena!, offsetOf(plan.steps[0]!.inputs[0]!), Float32Array.of(7));
    });
    expect(await problemsOf(backend)).toContain("changed the values of operand 0");
  });

  it("a read beyond an operand", async () => {
    const backend = replanned((plan) => {
      const [step] = plan.steps;
      const [a, b] = step!.inputs as [Operand, Operand];
      const shifted: Operand = { ...a, place: { in: "arena", offset: offsetOf(a) + 4 } };
      return { ...plan, steps: [{ ...step!, inputs: [shifted, b] }] };
    });
    expect(await problemsOf(backend)).toContain("output 0 is off by Infinity");
  });

  it("state that an op should have changed and did not", async () => {
    expect(
      await problemsOf(
        replanned((plan) => ({ ...plan, steps: [] })),
        adamw,
      ),
    ).toMatch(/operand 0 is off by/);
  });

  it("what goes wrong only when the plan is run again", async () => {
    const backend = spoiled(async (b, plan, [arena], run) => {
      if (run === 2) await b.write(arena!, offsetOf(plan.outputs["output 0"]!), Float32Array.of(99));
    });
    const problems = await problemsOf(backend);
    expect(problems).toContain("second run: output 0");
    expect(problems).not.toContain("first run");
  });

  it("a kernel said to be supported that cannot be prepared", async () => {
    const backend: Backend = {
      ...createReferenceBackend(),
      prepare: () => Promise.reject(new BackendError("the shader did not compile")),
    };
    expect(await problemsOf(backend)).toContain("the shader did not compile");
  });
});

describe("runCase", () => {
  it("reports what a backend does not support in the backend's words", async () => {
    const backend: Backend = { ...createReferenceBackend(), supports: () => "inner extents above 64 are not built" };
    const result = await runCase(backend, matmul);
    expect(result).toEqual({ status: "unsupported", case: matmul, reason: "inner extents above 64 are not built" });
  });

  it("frees what it allocates, also when the backend fails", async () => {
    const open = new Set<Buffer>();
    const reference = createReferenceBackend();
    const counting: Backend = {
      ...reference,
      allocate(bytes) {
        const buffer = reference.allocate(bytes);
        open.add(buffer);
        return buffer;
      },
      free: (buffer) => void open.delete(buffer),
    };
    await runCase(counting, matmul);
    expect(open.size).toBe(0);
    await runCase({ ...counting, run: () => Promise.reject(new Error("device lost")) }, matmul);
    expect(open.size).toBe(0);
  });

  it("measures the f32 reference's own rounding: not zero, at most 2⁻²⁴ of the largest value", async () => {
    const result = await runCase(createReferenceBackend(), matmul);
    const { maxRelativeError } = result as { maxRelativeError: number };
    expect(maxRelativeError).toBeGreaterThan(0);
    expect(maxRelativeError).toBeLessThanOrEqual(2 ** -24);
  });
});
