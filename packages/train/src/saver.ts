import type { AdamW } from "@slayer/optim";
import { reader, saveState, snapshot, stateBytes, type TrainingState } from "./state.js";

/**
 * Writes checkpoints while training goes on: a copy of what is trained is taken, and written in the background, one
 * checkpoint at a time. Where memory does not hold the copy, training waits instead.
 */
export class CheckpointSaver {
  readonly #root: string;
  readonly #optimizer: AdamW;
  readonly #keep: number;
  readonly #warn: (message: string) => void;
  #writing: Promise<void> = Promise.resolve();
  #saved = -1;

  constructor(root: string, optimizer: AdamW, keep: number, warn: (message: string) => void) {
    this.#root = root;
    this.#optimizer = optimizer;
    this.#keep = keep;
    this.#warn = warn;
  }

  /** Resolves when training may go on. A checkpoint that cannot be written is warned of; those before it stay. */
  async save(state: TrainingState): Promise<void> {
    await this.#writing;
    const fits = 1.25 * stateBytes(this.#optimizer) < process.availableMemory();
    const read = fits ? await snapshot(this.#optimizer) : reader(this.#optimizer);
    this.#writing = this.#write(read, state).catch((error: unknown) => {
      this.#warn(
        `the checkpoint of step ${state.step} could not be written: ${(error as Error).message}; the one before it stays, and the run goes on`,
      );
    });
    if (!fits) await this.#writing;
  }

  /** Saves and resolves when the checkpoint is on the disk; rejects if it cannot be written. */
  async saveNow(state: TrainingState): Promise<void> {
    await this.#writing;
    if (this.#saved !== state.step) await this.#write(reader(this.#optimizer), state);
  }

  /** Resolves when nothing is being written any more. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  async #write(read: Parameters<typeof saveState>[2], state: TrainingState): Promise<void> {
    await saveState(this.#root, this.#optimizer, read, state, this.#keep);
    this.#saved = state.step;
  }
}
