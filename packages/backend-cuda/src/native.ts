import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { FlatStep, Kernel } from "@slayer/tensor";
import { CudaUnavailableError } from "./errors.js";

/** The addon's interface; native/addon.cc implements it. */
export interface NativeAddon {
  readonly Buffer: new (session: NativeSession, bytes: number) => NativeBuffer;
  /** `kernels`: the folder of the kernels compiled for GPUs. */
  readonly Session: new (device: number, kernels: string) => NativeSession;
}

export interface NativeBuffer {
  /** Gives the memory back at once, or at the end of the jobs that use it. */
  free(): void;
}

export interface NativeProduct {
  /** Of its class: products alike enough that what is best for one is for all. */
  readonly name: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly f32: boolean;
  readonly variants: readonly string[];
}

declare const executable: unique symbol;
export interface NativeExecutable {
  readonly [executable]: true;
}

export type Done = (outcome: "done" | "cancelled" | "failed", message: string, code: string) => void;

export interface NativeSession {
  describe(): {
    readonly name: string;
    readonly totalBytes: number;
    readonly build: string;
    readonly multiprocessors: number;
  };
  /** Of the device's memory, now. */
  freeBytes(): number;
  /** "", or in words why there is no kernel. */
  supports(kernel: Kernel): string;
  /** The products among these steps that can be computed in several ways. */
  products(steps: readonly Kernel[]): readonly NativeProduct[];
  /** What a plan of these steps needs beside its operands; plans share it. */
  workspaceBytes(steps: readonly Kernel[]): number;
  /** Which way to take for products of this name, in what is prepared later. */
  prefer(product: string, variant: string): void;
  prepare(steps: readonly FlatStep[], buffers: readonly NativeBuffer[]): NativeExecutable;
  /** `blocks` of 256 threads, each with 16 chains of `rounds` multiply-adds (kernels/cuda/peak_fma.cu). */
  chains(blocks: number, rounds: number): NativeExecutable;
  /** Each queues a job and returns its number; `done` is called from the event loop when it has ended. */
  run(what: NativeExecutable, done: Done): number;
  write(buffer: NativeBuffer, offset: number, bytes: Uint8Array, done: Done): number;
  read(buffer: NativeBuffer, offset: number, into: Uint8Array, done: Done): number;
  cancel(job: number): void;
  /** Joins the thread. Jobs must have ended. */
  close(): void;
}

const require = createRequire(import.meta.url);

/** An addon, and the folder of the kernels that belong to it. */
export interface Loaded {
  readonly addon: NativeAddon;
  readonly kernels: string;
}

/**
 * The addon: built in this folder (another build where SLAYER_CUDA_ADDON says, e.g. the one that runs the kernels on the host), or
 * else the prebuilt package of this platform; kernels lie in `kernels` beside it, or where SLAYER_CUDA_KERNELS says. Throws a
 * CudaUnavailableError.
 */
export function loadAddon(): Loaded {
  const tried: string[] = [];
  const local = process.env.SLAYER_CUDA_ADDON || join(import.meta.dirname, "../build/Release/slayer_cuda.node");
  // For glibc only; where that is not, it does not load, and says so.
  const prebuilt = `@slayer/backend-cuda-${process.platform}-${process.arch}${process.platform === "linux" ? "-gnu" : ""}`;
  for (const path of [local, prebuilt]) {
    if (path === local && !existsSync(path)) {
      tried.push("it was not built here");
      continue;
    }
    try {
      const found = require.resolve(path);
      const kernels = process.env.SLAYER_CUDA_KERNELS || join(dirname(found), "kernels");
      return { addon: require(found) as NativeAddon, kernels };
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      tried.push(code === "MODULE_NOT_FOUND" ? `${path} is not installed` : `${path} does not load: ${message}`);
    }
  }
  throw new CudaUnavailableError(
    "no-addon",
    `no native CUDA addon: ${tried.join("; ")}. ` +
      `In a clone of the repository, on Linux, install cmake and g++ or clang++ and run \`pnpm build:native\``,
  );
}
