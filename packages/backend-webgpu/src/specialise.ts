/** A shader as the build leaves it (bundler/wgsl.mjs): its lines without comments, and what it wants to be told. */
export interface KernelSource {
  readonly name: string;
  readonly lines: readonly string[];
  /** Fields of its uniforms, in order, four bytes each. */
  readonly params: readonly (readonly [name: string, type: "u32" | "i32" | "f32"])[];
  /** Constants that its text needs. */
  readonly constants: readonly string[];
  /** Constants that its pipeline needs, or may be given. */
  readonly overrides: readonly string[];
  /** Names that its #if lines ask for. */
  readonly flags: readonly string[];
  /** Numbers of the bindings that it writes. */
  readonly writes: readonly number[];
}

/** A shader made definite: which of its parts, which constants. One pipeline. */
export interface Specialisation {
  readonly kernel: KernelSource;
  readonly flags: readonly string[];
  readonly constants: Readonly<Record<string, number>>;
}

/** Equal for two specialisations exactly if they are the same. */
export function keyOf({ kernel, flags, constants }: Specialisation): string {
  const numbers = Object.entries(constants).map(([name, value]) => `${name}=${value}`);
  return [kernel.name, ...flags.toSorted(), ...numbers.toSorted()].join(" ");
}

/**
 * The WGSL of a specialisation. Every storage binding becomes read_write: operands are ranges of a few large buffers, and WebGPU
 * refuses a buffer that is bound both for reading and for writing in one dispatch, while writable ranges that do not overlap
 * may share one.
 */
export function specialise({ kernel, flags, constants }: Specialisation): string {
  const kept: string[] = [];
  const open: boolean[] = []; // per #if around the line, whether its present branch is taken
  for (const line of kernel.lines) {
    const [word, name = ""] = line.split(" ");
    if (word === "#if") open.push(name.startsWith("!") ? !flags.includes(name.slice(1)) : flags.includes(name));
    else if (word === "#else") open.push(!open.pop());
    else if (word === "#endif") open.pop();
    else if (open.includes(false)) continue;
    else if (word === "#const") kept.push(`const ${name}: u32 = ${wanted(kernel, constants, name)}u;`);
    else kept.push(line.replace("var<storage, read>", "var<storage, read_write>"));
  }
  if (open.length > 0) throw new Error(`${kernel.name}.wgsl: ${open.length} #if without #endif`);
  const enables = [...new Set(kept.filter(isEnable))]; // WGSL wants them first
  return [...enables, ...kept.filter((line) => !isEnable(line))].join("\n");
}

const isEnable = (line: string): boolean => line.startsWith("enable ");

/** The part of the constants that goes to the pipeline. */
export function overridesOf({ kernel, constants }: Specialisation): Record<string, number> {
  return Object.fromEntries(Object.entries(constants).filter(([name]) => kernel.overrides.includes(name)));
}

/** Writes the uniforms of a dispatch into `target`, in the order of the shader's struct. */
export function encodeParams(kernel: KernelSource, values: Readonly<Record<string, number>>, target: DataView): void {
  const unknown = Object.keys(values).filter((name) => !kernel.params.some(([field]) => field === name));
  if (unknown.length > 0) throw new Error(`${kernel.name}.wgsl has no parameter ${unknown.join(", ")}`);
  for (const [i, [name, type]] of kernel.params.entries()) {
    const value = wanted(kernel, values, name);
    if (type === "f32") target.setFloat32(4 * i, value, true);
    else if (Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 32) target.setUint32(4 * i, value, true);
    else throw new Error(`${kernel.name}.wgsl: ${name} is ${value}, no ${type}`);
  }
}

function wanted(kernel: KernelSource, values: Readonly<Record<string, number>>, name: string): number {
  const value = values[name];
  if (value === undefined) throw new Error(`${kernel.name}.wgsl needs ${name}`);
  return value;
}
