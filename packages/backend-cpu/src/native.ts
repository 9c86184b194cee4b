import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { FlatStep } from "@slayer/tensor";

/** The addon's interface; native/addon.cc implements it. */
export interface NativeAddon {
  /** The instruction sets that this processor has code for, fastest first, with the ops of each. */
  isas(): readonly { readonly name: string; readonly ops: readonly string[] }[];
  /** Rates per second, one per sample, of all threads together. Blocks for about twice `seconds`. */
  measurePeaks(isa: string, threads: number, bytes: number, seconds: number): { fma: Float64Array; copy: Float64Array };
  readonly Buffer: new (bytes: number) => NativeBuffer;
  readonly Session: new (isa: string, threads: number) => NativeSession;
}

export interface NativeBuffer {
  write(offset: number, bytes: Uint8Array): void;
  read(offset: number, bytes: number): Uint8Array<ArrayBuffer>;
  /** Gives the memory back at once, or at the end of the run that uses it. */
  free(): void;
}

declare const executable: unique symbol;
export interface NativeExecutable {
  readonly [executable]: true;
}

export interface NativeSession {
  prepare(steps: readonly FlatStep[], buffers: readonly NativeBuffer[]): NativeExecutable;
  /** Queues a run and returns its number; `done` is called from the event loop when it has ended. */
  run(what: NativeExecutable, done: (outcome: "done" | "cancelled" | "failed", message: string) => void): number;
  /** The run ends before its next step. */
  cancel(run: number): void;
  /** Joins the threads. Runs must have ended. */
  close(): void;
}

/** There is no addon that this Node and this machine can load. The message says what was tried, and what helps. */
export class AddonMissingError extends Error {
  override readonly name = "AddonMissingError";
}

const require = createRequire(import.meta.url);

/**
 * The addon: built in this folder (another build of it where SLAYER_CPU_ADDON says, e.g. one with sanitizers), or else the
 * prebuilt package of this platform. Throws an AddonMissingError.
 */
export function loadAddon(): NativeAddon {
  const tried: string[] = [];
  const local = process.env.SLAYER_CPU_ADDON || join(import.meta.dirname, "../build/Release/slayer_cpu.node");
  if (existsSync(local)) {
    try {
      return require(local) as NativeAddon;
    } catch (error) {
      tried.push(`${local} does not load: ${(error as Error).message}`);
    }
  } else tried.push("it was not built here");
  const prebuilt = `@slayer/backend-cpu-${platform()}`;
  try {
    return require(prebuilt) as NativeAddon;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    tried.push(code === "MODULE_NOT_FOUND" ? `${prebuilt} is not installed` : `${prebuilt} does not load: ${message}`);
  }
  throw new AddonMissingError(
    `no native CPU kernels: ${tried.join("; ")}. ` +
      `In a clone of the repository install cmake and g++ or clang++ and run \`pnpm build:native\``,
  );
}

/** As in the names of the prebuilt packages, e.g. linux-x64-gnu. */
function platform(): string {
  const { platform, arch } = process;
  if (platform !== "linux") return `${platform}-${arch}`;
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return `${platform}-${arch}-${header.glibcVersionRuntime === undefined ? "musl" : "gnu"}`;
}
