import type { TensorType } from "@slayer/tensor";
import { matchesPattern } from "./patterns.js";

export type NamedType = TensorType & { readonly name: string };

/** What a recipe says about some of the trainable parameters. */
export interface GroupRule {
  /** Paths in whole segments, as `matchesPattern` takes them. */
  readonly parameters: readonly string[];
  /** Peak learning rate; default: the run's. */
  readonly lr?: number | undefined;
  /** Of the group's matrices; default: the run's. */
  readonly weightDecay?: number | undefined;
}

/** Parameters that are updated alike. */
export interface ParameterGroup {
  readonly name: string;
  readonly parameters: readonly NamedType[];
  /** Decoupled weight decay. */
  readonly weightDecay: number;
  /** The group's learning rate is the run's times this. */
  readonly lrScale: number;
}

/**
 * Sorts the trainable parameters into groups. Without rules there are two: matrices, which are decayed, and norms and biases
 * (tensors of one dimension), which are not. With rules, each parameter must fall under exactly one of them; its matrices
 * are decayed and the rest is not, as before. Throws a RangeError that names the parameter and the rules.
 */
export function parameterGroups(
  trainable: readonly NamedType[],
  { lr, weightDecay, rules = [] }: { lr: number; weightDecay: number; rules?: readonly GroupRule[] },
): ParameterGroup[] {
  if (rules.length === 0) return byShape("", trainable, weightDecay, 1);
  const members = rules.map((): NamedType[] => []);
  for (const type of trainable) {
    const fitting = rules.flatMap(({ parameters }, i) =>
      parameters.some((pattern) => matchesPattern(pattern, type.name)) ? [i] : [],
    );
    if (fitting.length !== 1) {
      const found = fitting.length === 0 ? "none" : fitting.map((i) => rules[i]!.parameters.join(", ")).join(" and ");
      throw new RangeError(`'${type.name}' must fall under exactly one parameter group, it falls under ${found}`);
    }
    members[fitting[0]!]!.push(type);
  }
  return rules.flatMap((rule, i) => {
    if (members[i]!.length === 0) {
      throw new RangeError(`no trainable parameter falls under the group ${rule.parameters.join(", ")}`);
    }
    if (rule.lr !== undefined && lr === 0) throw new RangeError("a group's lr needs a run's lr that is not 0");
    const scale = rule.lr === undefined ? 1 : rule.lr / lr;
    return byShape(`${i}.`, members[i]!, rule.weightDecay ?? weightDecay, scale);
  });
}

function byShape(prefix: string, members: readonly NamedType[], weightDecay: number, lrScale: number) {
  const matrices = members.filter(({ shape }) => shape.length >= 2);
  const vectors = members.filter(({ shape }) => shape.length < 2);
  return [
    { name: `${prefix}decay`, parameters: matrices, weightDecay, lrScale },
    { name: `${prefix}no_decay`, parameters: vectors, weightDecay: 0, lrScale },
  ].filter(({ parameters }) => parameters.length > 0);
}
