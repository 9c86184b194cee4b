import { elideCopies } from "./elide-copies.js";
import { type CanFuse, fuse, hoistAccumulations } from "./fuse.js";
import type { Graph, Node, Role, Tensor } from "./graph.js";
import type { Attrs, Cost } from "./op.js";
import { definitionOf, type OpName } from "./ops/index.js";
import { align, planMemory } from "./planner.js";
import { byteLength, type TensorType } from "./shape.js";

/** Where an operand lives: in the plan's arena, in the arena of inputs, or in a tensor that the caller keeps. */
export type Place =
  | { readonly in: "arena" | "inputs"; readonly offset: number }
  | { readonly in: "persistent"; readonly index: number };

export type Operand = TensorType & { readonly place: Place };

export interface Step {
  readonly op: OpName;
  readonly attrs: Attrs;
  readonly inputs: readonly Operand[];
  readonly outputs: readonly Operand[];
  readonly scope: string | null;
  readonly recomputed: boolean;
  readonly cost: Cost;
  /** Arena ranges [offset, bytes] that nothing reads after this step. */
  readonly frees: readonly (readonly [offset: number, bytes: number])[];
}

export interface PersistentTensor extends TensorType {
  readonly name: string;
  readonly role: Role;
}

/** A graph made executable: flat data, the same for every backend, known before anything is allocated. */
export interface Plan {
  readonly steps: readonly Step[];
  /** Parameters and state, to be bound by name. */
  readonly persistent: readonly PersistentTensor[];
  /** Tensors written before each run; they lie in one arena of their own. */
  readonly inputs: Readonly<Record<string, Operand>>;
  /** Tensors readable after a run. */
  readonly outputs: Readonly<Record<string, Operand>>;
  readonly arenaBytes: number;
  readonly inputBytes: number;
}

/**
 * Turns what was recorded into a plan. Nodes that neither lead to `outputs` nor change state are left out; those that `canFuse` become one
 * step. Parameters and state of different names are taken to lie apart in memory.
 */
export function makePlan(
  graph: Graph,
  outputs: Readonly<Record<string, Tensor>>,
  canFuse: CanFuse = () => false,
): Plan {
  const kept = Object.values(outputs);
  for (const t of kept) {
    if (t.role !== "intermediate") throw new Error(`output '${t.name}' is a ${t.role}: read it where it is kept`);
  }
  const outside = new Set(kept);
  const fused = fuse(hoistAccumulations(liveNodes(graph.nodes, kept)), outside, canFuse);
  const { nodes, into } = elideCopies(fused, outside);
  const arena = placeIntermediates(nodes, kept, into);
  const persistentTensors = usedPersistent(fused);
  const index = new Map(persistentTensors.map((t, i) => [t, i]));
  const { places, bytes: inputBytes } = placeInputs([...graph.persistent.values()].filter((t) => t.role === "input"));

  const operand = (made: Tensor): Operand => {
    const t = into.get(made) ?? made;
    const { shape, dtype } = t;
    if (t.role === "intermediate") return { shape, dtype, place: { in: "arena", offset: arena.offset.get(t)! } };
    if (t.role === "input") return { shape, dtype, place: { in: "inputs", offset: places.get(t)! } };
    return { shape, dtype, place: { in: "persistent", index: index.get(t)! } };
  };
  const steps = nodes.map((node, i): Step => {
    const { op, attrs, scope, recomputed } = node;
    return {
      op,
      attrs,
      inputs: node.inputs.map(operand),
      outputs: node.outputs.map(operand),
      scope,
      recomputed,
      cost: definitionOf(op).cost(node.inputs, node.outputs, attrs),
      frees: arena.frees[i]!,
    };
  });
  return {
    steps,
    persistent: persistentTensors.map(({ name, role, shape, dtype }) => ({ name, role, shape, dtype })),
    inputs: Object.fromEntries([...places.keys()].map((t) => [t.name, operand(t)])),
    outputs: Object.fromEntries(Object.entries(outputs).map(([name, t]) => [name, operand(t)])),
    arenaBytes: arena.bytes,
    inputBytes,
  };
}

function liveNodes(nodes: readonly Node[], kept: readonly Tensor[]): Node[] {
  const needed = new Set<Tensor>(kept);
  const live = nodes.toReversed().filter((node) => {
    const used = definitionOf(node.op).mutates !== undefined || node.outputs.some((t) => needed.has(t));
    if (used) for (const t of node.inputs) needed.add(t);
    return used;
  });
  return live.toReversed();
}

function placeIntermediates(nodes: readonly Node[], kept: readonly Tensor[], elsewhere: ReadonlyMap<Tensor, Tensor>) {
  const first = new Map<Tensor, number>();
  const last = new Map<Tensor, number>();
  nodes.forEach((node, i) => {
    for (const t of node.outputs) {
      if (elsewhere.has(t)) continue;
      first.set(t, i);
      last.set(t, i);
    }
    for (const t of node.inputs) if (t.role === "intermediate") last.set(t, i);
  });
  for (const t of kept) last.set(t, nodes.length);
  const tensors = [...first.keys()];
  const layout = planMemory(tensors.map((t) => ({ bytes: byteLength(t), first: first.get(t)!, last: last.get(t)! })));
  const offset = new Map(tensors.map((t, i) => [t, layout.offsets[i]!]));
  const frees = nodes.map((): [number, number][] => []);
  for (const t of tensors) frees[last.get(t)!]?.push([offset.get(t)!, byteLength(t)]);
  return { offset, bytes: layout.bytes, frees };
}

function usedPersistent(nodes: readonly Node[]): Tensor[] {
  const used = new Set<Tensor>();
  for (const node of nodes) {
    for (const t of node.inputs) if (t.role === "parameter" || t.role === "state") used.add(t);
  }
  return [...used];
}

function placeInputs(inputs: readonly Tensor[]) {
  const places = new Map<Tensor, number>();
  let bytes = 0;
  for (const t of inputs) {
    places.set(t, bytes);
    bytes += align(byteLength(t));
  }
  return { places, bytes };
}

/** What a plan's tensors take, in bytes. Parameters and state count as far as the plan uses them. */
export interface PlanMemory {
  readonly parameters: number;
  readonly state: number;
  readonly intermediates: number;
  readonly inputs: number;
  /** The step at which most intermediates are alive; -1 where there are none. */
  readonly fullestStep: number;
}

export function planMemoryOf(plan: Plan): PlanMemory {
  const kept = (role: Role) =>
    plan.persistent.filter((t) => t.role === role).reduce((sum, t) => sum + byteLength(t), 0);
  let [alive, most, fullestStep] = [0, 0, -1];
  plan.steps.forEach(({ outputs, frees }, i) => {
    alive += outputs.reduce((sum, t) => sum + (t.place.in === "arena" ? byteLength(t) : 0), 0);
    if (alive > most) [most, fullestStep] = [alive, i];
    alive -= frees.reduce((sum, [, bytes]) => sum + bytes, 0);
  });
  const { arenaBytes: intermediates, inputBytes: inputs } = plan;
  return { parameters: kept("parameter"), state: kept("state"), intermediates, inputs, fullestStep };
}

export interface PlanCost {
  /** What MFU counts: matrix products, attention and LM head, nothing computed twice. */
  readonly modelFlops: number;
  /** All arithmetic, recomputation and elementwise work included. */
  readonly flops: number;
  /** The share of `flops` that recomputes blocks. */
  readonly recomputedFlops: number;
  /** Least traffic in bytes: each step's operands once. */
  readonly bytes: number;
}

/** Totals over a plan, optionally over the steps of one kind only. */
export function planCost(plan: Plan, include: (step: Step) => boolean = () => true): PlanCost {
  let [modelFlops, flops, recomputedFlops, bytes] = [0, 0, 0, 0];
  for (const step of plan.steps.filter(include)) {
    if (!step.recomputed) modelFlops += step.cost.matmulFlops;
    flops += step.cost.flops;
    if (step.recomputed) recomputedFlops += step.cost.flops;
    bytes += step.cost.bytes;
  }
  return { modelFlops, flops, recomputedFlops, bytes };
}
