import type { ModelConfig } from "@slayer/checkpoint";
import { type AdamW, addCompanions, Companions, companionName } from "@slayer/optim";
import { type AdaptedModule, adaptedModules, adapterNames, diagonal, diagonalOf } from "./adapter.js";
import { addOrthogonality, columnsOf, rowsOf } from "./orthogonality.js";
import { budgetAt, type RankSchedule, rankSchedule } from "./rank-schedule.js";
import type { AdaLoraSettings, AdapterSettings } from "./recipe-adapter.js";

const SENSITIVITY = "adalora.sensitivity";
const UNCERTAINTY = "adalora.uncertainty";
/** [modules, rank]: 1 for a triplet that is kept, 0 for one that is not. */
const KEPT = "adalora.kept";

/**
 * AdaLoRA's rank allocation as PEFT does it (Zhang et al. 2023, arXiv:2303.10512, algorithm 1). A module's triplet k is row k of A,
 * E's k-th value and column k of B. Each weight has a sensitivity |w·g|, with g the gradient as clipped and w after the update; its
 * running mean I, and the running mean U of how far it strays from I, multiply to the weight's score; a triplet's score is that of
 * E plus the means over A's row and B's column. Every `deltaT` steps the triplets with the lowest scores of all modules lose their
 * singular value, so that the budget is kept. They can come back until the last decision, at total − tfinal.
 *
 * All that is remembered lies in the store beside AdamW's moments, and is in the run's checkpoints with them. The arithmetic is done on
 * the host.
 */
export class RankAllocator {
  readonly #optimizer: AdamW;
  readonly #settings: AdaLoraSettings;
  readonly #schedule: RankSchedule;
  readonly #modules: readonly AdaptedModule[];
  /** Of the step that is going on, the penalty's in them. */
  #gradients: Companions | undefined;

  private constructor(optimizer: AdamW, config: ModelConfig, settings: AdaLoraSettings, steps: number) {
    this.#optimizer = optimizer;
    this.#settings = settings;
    this.#schedule = rankSchedule(settings, steps);
    this.#modules = adaptedModules(config, settings);
  }

  /**
   * For a run of `steps`, with every triplet kept; none where the adapter is another.
   * @throws RecipeError where the ranks have no time to fall
   */
  static async of(settings: AdapterSettings | undefined, optimizer: AdamW, config: ModelConfig, steps: number) {
    if (settings?.name !== "adalora") return undefined;
    const allocator = new RankAllocator(optimizer, config, settings, steps);
    await optimizer.store.write(KEPT, new Float32Array(allocator.#modules.length * settings.rank).fill(1));
    return allocator;
  }

  /** Adds what is remembered to the optimizer's store; nothing is decided yet. */
  static addState(optimizer: AdamW, config: ModelConfig, settings: AdaLoraSettings): void {
    addCompanions(optimizer, SENSITIVITY);
    addCompanions(optimizer, UNCERTAINTY);
    const modules = adaptedModules(config, settings).length;
    optimizer.store.add({ name: KEPT, shape: [modules, settings.rank], dtype: "f32" });
  }

  get schedule(): RankSchedule {
    return this.#schedule;
  }

  /**
   * Before the optimizer's `norm`: adds the gradient of the orthogonality penalty, the mean over all A and B times its weight, to
   * the accumulated gradients, which are of a sum over `scored` tokens. Resolves to the weighted penalty.
   */
  async regularise(scored: number): Promise<number> {
    const { rank, orthogonality } = this.#settings;
    const gradients = await Companions.read(this.#optimizer, "gradient");
    const masters = await Companions.read(this.#optimizer, "master");
    const weight = orthogonality / (2 * this.#modules.length);
    let penalty = 0;
    for (const { a, b, e } of this.#names()) {
      const values = diagonalOf(gradients.of(e), rank);
      gradients.of(e).set(diagonal(values));
      if (weight === 0) continue;
      penalty += addOrthogonality(rowsOf(masters.of(a), rank), weight * scored, gradients.of(a));
      penalty += addOrthogonality(columnsOf(masters.of(b), rank), weight * scored, gradients.of(b));
    }
    await gradients.write();
    this.#gradients = gradients;
    return weight * penalty;
  }

  /** After the optimizer's update, `step` of 1 … total: remembers, and decides where a decision is due. Resolves to the triplets kept. */
  async allocate(step: number): Promise<number> {
    const { tinit, tfinal, total } = this.#schedule;
    const { rank, target_rank: target, deltaT } = this.#settings;
    const modules = this.#modules.length;
    const end = total - tfinal;
    if (step < end) await this.#remember();
    this.#gradients = undefined;
    if (step <= tinit || (step < end && step % deltaT !== 0)) return this.#count();
    const budget = budgetAt(step, this.#schedule, modules * rank, modules * target);
    // After the end what was decided stays, unless that step was left out.
    if (step <= end || (await this.#count()) > budget) await this.#decide(budget);
    await this.#mask();
    return this.#count();
  }

  /** Which triplets each module keeps. */
  async kept(): Promise<Map<string, boolean[]>> {
    const { rank } = this.#settings;
    const kept = await this.#optimizer.store.read(KEPT);
    return new Map(
      this.#modules.map(({ module }, m) => [module, Array.from(kept.subarray(m * rank, (m + 1) * rank), Boolean)]),
    );
  }

  *#names(): Generator<{ a: string; b: string; e: string }> {
    for (const { module } of this.#modules) {
      const { a, b, e } = adapterNames(module, this.#settings);
      yield { a, b, e: e! };
    }
  }

  async #count(): Promise<number> {
    const kept = (await this.#optimizer.store.read(KEPT)) as Float32Array;
    return kept.reduce((sum, value) => sum + value, 0);
  }

  async #remember(): Promise<void> {
    const factor = await this.#optimizer.factor();
    const [beta1, beta2] = this.#settings.betas;
    const masters = await Companions.read(this.#optimizer, "master");
    const sensitivities = await Companions.read(this.#optimizer, SENSITIVITY);
    const uncertainties = await Companions.read(this.#optimizer, UNCERTAINTY);
    for (const { name } of this.#optimizer.trainable) {
      const [weights, gradients] = [masters.of(name), this.#gradients!.of(name)];
      const [means, strays] = [sensitivities.of(name), uncertainties.of(name)];
      for (let i = 0; i < weights.length; i++) {
        const sensitivity = Math.abs(weights[i]! * gradients[i]! * factor);
        means[i] = beta1 * means[i]! + (1 - beta1) * sensitivity;
        strays[i] = beta2 * strays[i]! + (1 - beta2) * Math.abs(sensitivity - means[i]!);
      }
    }
    await sensitivities.write();
    await uncertainties.write();
  }

  /** Keeps the triplets whose scores lie above that of the last one the budget has no place for. */
  async #decide(budget: number): Promise<void> {
    const { rank } = this.#settings;
    const sensitivities = await Companions.read(this.#optimizer, SENSITIVITY);
    const uncertainties = await Companions.read(this.#optimizer, UNCERTAINTY);
    const scoresOf = (name: string) => {
      const [means, strays] = [sensitivities.of(name), uncertainties.of(name)];
      const products = new Float64Array(means.length);
      for (let i = 0; i < products.length; i++) products[i] = means[i]! * strays[i]!;
      return products;
    };
    const scores = new Float64Array(this.#modules.length * rank);
    let m = 0;
    for (const { a, b, e } of this.#names()) {
      const [rows, columns, weights] = [scoresOf(a), scoresOf(b), scoresOf(e)];
      const [into, out] = [rows.length / rank, columns.length / rank];
      for (let k = 0; k < rank; k++) {
        let [row, column] = [0, 0];
        for (let i = 0; i < into; i++) row += rows[k * into + i]!;
        for (let i = 0; i < out; i++) column += columns[i * rank + k]!;
        scores[m++] = weights[k * rank + k]! + row / into + column / out;
      }
    }
    const threshold = scores.toSorted()[scores.length - budget - 1]!;
    await this.#optimizer.store.write(
      KEPT,
      Float32Array.from(scores, (score) => Number(score > threshold)),
    );
  }

  /** Takes the singular value of every triplet that is not kept. */
  async #mask(): Promise<void> {
    const { rank } = this.#settings;
    const { store } = this.#optimizer;
    const kept = await store.read(KEPT);
    let m = 0;
    for (const { e } of this.#names()) {
      const name = this.#optimizer.masterName(e);
      const values = diagonalOf((await store.read(name)) as Float32Array, rank);
      await store.write(name, diagonal(values.map((value, k) => (kept[m * rank + k] ? value : 0))));
      m++;
    }
    await this.#optimizer.roundMasters();
  }
}

/** What the allocator remembers, if the store has it: for the run's checkpoints. */
export function allocatorState({
  store,
  trainable,
}: AdamW): { name: string; inStore: string; shape: readonly number[] }[] {
  if (!store.has(KEPT)) return [];
  const names = trainable.flatMap(({ name }) => [companionName(SENSITIVITY, name), companionName(UNCERTAINTY, name)]);
  return [...names, KEPT].map((name) => ({ name, inStore: name, shape: store.type(name).shape }));
}
