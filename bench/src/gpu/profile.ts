import type { Backend, Plan, Step } from "@slayer/tensor";
import type { Shape } from "./shapes.js";
import { timeOp } from "./time.js";

export interface ProfileRow {
  readonly name: string;
  /** How often the plans have it, with operands of these types. */
  readonly count: number;
  /** All of them together, each as long as it takes by itself. */
  readonly seconds: number;
  readonly flops: number;
  readonly bytes: number;
}

/**
 * What a step is made of: each op of its plans at each size, timed by itself, times how often it is there; the most time first. `limit` bounds the
 * values of i32 operands.
 */
export async function profile(backend: Backend, plans: readonly Plan[], limit: number): Promise<ProfileRow[]> {
  const found = new Map<string, { step: Step; count: number }>();
  for (const step of plans.flatMap(({ steps }) => steps)) {
    const name = nameOf(step);
    const same = found.get(name);
    if (same) same.count++;
    else found.set(name, { step, count: 1 });
  }
  const rows: ProfileRow[] = [];
  for (const [name, { step, count }] of found) {
    const { op, attrs, inputs } = step;
    const types = inputs.map(({ shape, dtype }) => ({ shape, dtype }));
    const shape: Shape = { name, op, attrs, inputs: types, limit, ...(op === "adamw" ? { positive: [3] } : {}) };
    const { seconds, cost } = await timeOp(backend, shape, { samples: 3, check: false });
    rows.push({ name, count, seconds: count * seconds, flops: count * cost.matmulFlops, bytes: count * cost.bytes });
  }
  return rows.sort((a, b) => b.seconds - a.seconds);
}

function nameOf({ op, attrs, inputs }: Step): string {
  const on = Object.entries(attrs)
    .filter(([, value]) => value === true)
    .map(([name]) => ` ${name}`);
  return `${op}${on.join("")} ${inputs.map(({ shape, dtype }) => `${dtype} ${shape.join("×")}`).join(", ")}`;
}
