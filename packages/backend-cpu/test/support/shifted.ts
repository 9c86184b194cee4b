import type { Backend, Buffer, Operand, Plan } from "@slayer/tensor";

/** The same backend with every operand `by` bytes further on in memory than the plan says. */
export function shifted(backend: Backend, by: number): Backend {
  const move = (operand: Operand): Operand => {
    const { place } = operand;
    return place.in === "persistent" ? operand : { ...operand, place: { ...place, offset: place.offset + by } };
  };
  const moveAll = (plan: Plan): Plan => ({
    ...plan,
    steps: plan.steps.map((step) => ({ ...step, inputs: step.inputs.map(move), outputs: step.outputs.map(move) })),
  });
  return {
    ...backend,
    allocate: (bytes) => backend.allocate(bytes + by),
    write: (buffer: Buffer, offset, data) => backend.write(buffer, offset + by, data),
    read: (buffer: Buffer, offset, bytes) => backend.read(buffer, offset + by, bytes),
    prepare(plan, bindings) {
      const persistent = bindings.persistent.map(({ buffer, offset }) => ({ buffer, offset: offset + by }));
      return backend.prepare(moveAll(plan), { ...bindings, persistent });
    },
  };
}
