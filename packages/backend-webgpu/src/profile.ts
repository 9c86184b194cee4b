import type { Command } from "./executable.js";
import { failure } from "./errors.js";

const QUERY_RESOLVE = 0x200;
const COPY_SRC = 0x4;
const COPY_DST = 0x8;
const MAP_READ = 0x1;
const READ_MODE = 0x1;
/** Of a query set, by WebGPU. */
const MOST_QUERIES = 4096;

/** Time of one kernel on the device, over all runs so far. */
export interface KernelTime {
  /** The shader's name. */
  readonly kernel: string;
  readonly dispatches: number;
  readonly seconds: number;
}

/** Two timestamps around each dispatch. */
export class Profile {
  readonly #totals = new Map<string, { dispatches: number; seconds: number }>();
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #staging: GPUBuffer;
  #encoded: readonly Command[] = [];

  constructor(device: GPUDevice) {
    if (!device.features.has("timestamp-query"))
      throw failure("this adapter has no timestamp-query: it cannot be profiled");
    this.#queries = device.createQuerySet({ type: "timestamp", count: MOST_QUERIES });
    const size = 8 * MOST_QUERIES;
    this.#resolved = device.createBuffer({ size, usage: QUERY_RESOLVE | COPY_SRC });
    this.#staging = device.createBuffer({ size, usage: MAP_READ | COPY_DST });
  }

  /** How many dispatches may be encoded before `collect`. */
  static readonly most = MOST_QUERIES / 2;

  encode(
    encoder: GPUCommandEncoder,
    commands: readonly Command[],
    body: (pass: GPUComputePassEncoder, command: Command) => void,
  ): void {
    this.#encoded = commands;
    for (const [i, command] of commands.entries()) {
      const pass = encoder.beginComputePass({
        timestampWrites: {
          querySet: this.#queries,
          beginningOfPassWriteIndex: 2 * i,
          endOfPassWriteIndex: 2 * i + 1,
        },
      });
      body(pass, command);
      pass.end();
    }
    encoder.resolveQuerySet(this.#queries, 0, 2 * commands.length, this.#resolved, 0);
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#staging, 0, 16 * commands.length);
  }

  /** Adds up what was encoded last, once it has run. */
  async collect(): Promise<void> {
    await this.#staging.mapAsync(READ_MODE);
    const times = new BigUint64Array(this.#staging.getMappedRange());
    for (const [i, { kernel }] of this.#encoded.entries()) {
      const total = this.#totals.get(kernel) ?? { dispatches: 0, seconds: 0 };
      total.dispatches++;
      total.seconds += Number(times[2 * i + 1]! - times[2 * i]!) / 1e9;
      this.#totals.set(kernel, total);
    }
    this.#staging.unmap();
  }

  /** Longest first. */
  times(): KernelTime[] {
    const all = [...this.#totals].map(([kernel, total]) => ({ kernel, ...total }));
    return all.toSorted((a, b) => b.seconds - a.seconds);
  }

  destroy(): void {
    this.#queries.destroy();
    this.#resolved.destroy();
    this.#staging.destroy();
  }
}
