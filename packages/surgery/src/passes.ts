import type { TensorTask } from "./tasks.js";
import { isCopy } from "./tasks.js";

/**
 * Tensors that are made in one go: the base tensors that have to be read side by side, because an average ties them
 * together, and everything that is made of them. Every base tensor is in one pass at most, so that it is read once.
 */
export interface Pass {
  /** Tensors of the base, in the order in which the plan first names them; none where zeros are made. */
  readonly sources: readonly string[];
  readonly outputs: readonly TensorTask[];
  /** Of each source and each output. */
  readonly bytes: number;
}

/** The passes that make `tasks`, in the order of their first outputs. Pure data. */
export function planPasses(tasks: readonly TensorTask[]): Pass[] {
  const parents = new Map<string, string>();
  const root = (tensor: string): string => {
    let found = tensor;
    for (let up = parents.get(found); up !== undefined && up !== found; up = parents.get(found)) found = up;
    return found;
  };
  for (const { sources } of tasks) {
    for (const { tensor } of sources) {
      const [top, first] = [root(tensor), root(sources[0]?.tensor ?? tensor)];
      if (!parents.has(top)) parents.set(top, top);
      if (top !== first) parents.set(top, first);
    }
  }
  const passes = new Map<string, { sources: Set<string>; outputs: TensorTask[]; bytes: number }>();
  for (const task of tasks) {
    const [first] = task.sources;
    const key = first === undefined ? `zeros of ${task.name}` : root(first.tensor);
    const pass = passes.get(key) ?? { sources: new Set(), outputs: [], bytes: task.bytes };
    for (const { tensor } of task.sources) pass.sources.add(tensor);
    pass.outputs.push(task);
    passes.set(key, pass);
  }
  return [...passes.values()].map((pass) => ({ ...pass, sources: [...pass.sources] }));
}

/** The same range of every tensor of a pass. */
export interface Step {
  readonly pass: Pass;
  readonly begin: number;
  readonly end: number;
  /** Whether the pass ends here. */
  readonly last: boolean;
}

/** Cuts passes into ranges of at most `pieceBytes`, so that one range of all sources takes at most `windowBytes`. */
export function* steps(passes: readonly Pass[], pieceBytes: number, windowBytes: number): Generator<Step> {
  for (const pass of passes) {
    const share = Math.floor(windowBytes / Math.max(1, pass.sources.length) / alignment) * alignment;
    const size = Math.max(alignment, Math.min(pieceBytes, share));
    for (let begin = 0, end = 0; begin === 0 || begin < pass.bytes; begin = end) {
      end = Math.min(pass.bytes, begin + size);
      yield { pass, begin, end, last: end === pass.bytes };
      if (end === pass.bytes) break;
    }
  }
}

/** Whole elements of every dtype, and whole pages of the disk. */
const alignment = 4096;

export function isAverage(task: TensorTask): boolean {
  return !task.zeroed && !isCopy(task);
}
