import { size } from "@slayer/tensor";
import { type AdamW, companionName } from "./adamw.js";

/** Adds a zeroed f32 tensor of one more kind beside every trainable parameter, laid out as gradients and moments are. */
export function addCompanions({ store, groups }: AdamW, kind: string): void {
  for (const { name, parameters } of groups) {
    store.addRange(
      parameters.map((type) => ({ ...type, name: companionName(kind, type.name) })),
      `${kind}.${name}`,
    );
  }
}

/** The values of one kind, of all trainable parameters, on the host; what is changed there, `write` takes back. */
export class Companions {
  readonly #optimizer: AdamW;
  /** One per group, by its name in the store. */
  readonly #ranges: ReadonlyMap<string, Float32Array>;
  readonly #views = new Map<string, Float32Array>();

  private constructor(optimizer: AdamW, kind: string, ranges: ReadonlyMap<string, Float32Array>) {
    this.#optimizer = optimizer;
    this.#ranges = ranges;
    for (const group of optimizer.groups) {
      const range = ranges.get(rangeName(optimizer, kind, group))!;
      for (const { name, shape } of group.parameters) {
        const at = optimizer.store.offset(kind === "master" ? optimizer.masterName(name) : companionName(kind, name));
        this.#views.set(name, range.subarray(at, at + size(shape)));
      }
    }
  }

  /** One read per group; `master` stands for what is updated, whether there are working copies or not. */
  static async read(optimizer: AdamW, kind: string): Promise<Companions> {
    const ranges = new Map<string, Float32Array>();
    for (const group of optimizer.groups) {
      const name = rangeName(optimizer, kind, group);
      ranges.set(name, (await optimizer.store.read(name)) as Float32Array);
    }
    return new Companions(optimizer, kind, ranges);
  }

  of(parameter: string): Float32Array {
    return this.#views.get(parameter)!;
  }

  async write(): Promise<void> {
    for (const [name, values] of this.#ranges) await this.#optimizer.store.write(name, values);
  }
}

function rangeName(optimizer: AdamW, kind: string, group: AdamW["groups"][number]): string {
  return kind === "master" ? optimizer.masterRange(group) : `${kind}.${group.name}`;
}
