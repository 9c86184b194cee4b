import { existsSync, readdirSync } from "node:fs";
import { AddonMissingError, createCpuBackend } from "@slayer/backend-cpu";
import { createCudaBackend, CudaUnavailableError } from "@slayer/backend-cuda";
import { AdapterMissingError, createWebgpuBackend } from "@slayer/backend-webgpu";
import { type Backend, createReferenceBackend } from "@slayer/tensor";
import { UserError } from "./errors.js";
import { diskTuning } from "./tuning-store.js";

interface BackendEntry {
  readonly name: string;
  /** `named`: asked for by its name, and not by `auto`, which wants what is fast. */
  readonly open: (device: number, named: boolean) => Promise<Backend>;
}

/**
 * Every backend that can be asked for, best first: `auto` takes the first that opens. The only place that names concrete
 * backends; to add one, import it and give it a line.
 */
const backends: readonly BackendEntry[] = [
  { name: "cuda", open: openCuda },
  { name: "webgpu", open: openWebgpu },
  { name: "cpu", open: openCpu },
  { name: "reference", open: openReference },
];

export const backendNames: readonly string[] = ["auto", ...backends.map(({ name }) => name)];

async function openCuda(device: number, named: boolean): Promise<Backend> {
  if (!named && !mayHaveNvidiaGpu()) throw new NoDeviceError("this machine has no NVIDIA GPU that the system knows of");
  try {
    return await createCudaBackend({ device, tuning: diskTuning("cuda", process.env) });
  } catch (error) {
    if (!(error instanceof CudaUnavailableError)) throw error;
    throw notThere.has(error.reason) ? new NoDeviceError(error.message) : new UserError(error.message);
  }
}

/** Why CUDA is not to be had where nothing is to be mended: the GPU is another maker's, or too old. */
const notThere: ReadonlySet<CudaUnavailableError["reason"]> = new Set(["no-device", "wrong-architecture"]);

async function openWebgpu(device: number, named: boolean): Promise<Backend> {
  if (device !== 0) throw new UserError(`the webgpu backend has one device, 0; got --device ${device}`);
  if (!named && !mayHaveGpu()) throw new NoDeviceError("this machine has no GPU that the system knows of");
  try {
    return await createWebgpuBackend({ software: named, tuning: diskTuning("webgpu", process.env) });
  } catch (error) {
    throw error instanceof AdapterMissingError ? new NoDeviceError(error.message) : error;
  }
}

/** False where Linux shows no GPU: then WebGPU, which takes a moment and has complaints of its own, need not be loaded. */
function mayHaveGpu(): boolean {
  if (process.platform !== "linux") return true;
  const nodes = existsSync("/dev/dri") ? readdirSync("/dev/dri") : [];
  return nodes.some((name) => name.startsWith("renderD")) || mayHaveNvidiaGpu();
}

/** Their driver's device, or the one that Windows' Linux has instead of all. */
function mayHaveNvidiaGpu(): boolean {
  return existsSync("/dev/nvidiactl") || existsSync("/dev/dxg");
}

/** There is no such device in this machine: nothing to mend, so nothing that `auto` needs to mention. */
class NoDeviceError extends UserError {}

async function openCpu(device: number): Promise<Backend> {
  if (device !== 0) throw new UserError(`the cpu backend has one device, 0; got --device ${device}`);
  try {
    return await createCpuBackend();
  } catch (error) {
    throw error instanceof AddonMissingError ? new UserError(error.message) : error;
  }
}

async function openReference(device: number): Promise<Backend> {
  if (device !== 0) throw new UserError(`the reference backend has one device, 0; got --device ${device}`);
  return createReferenceBackend();
}

/** Opens a backend by name; the caller closes it. `log` is told when `auto` takes one because a better one does not work. */
export async function openBackend(name: string, device: number, log: (text: string) => void): Promise<Backend> {
  if (name === "auto") return openBest(device, log);
  const entry = backends.find((backend) => backend.name === name);
  if (entry === undefined) {
    throw new UserError(`--backend must be one of ${backendNames.join(", ")}; got ${JSON.stringify(name)}`);
  }
  return entry.open(device, true);
}

async function openBest(device: number, log: (text: string) => void): Promise<Backend> {
  const problems: string[] = [];
  const absent: string[] = [];
  for (const { name, open } of backends) {
    try {
      const backend = await open(device, false);
      if (problems.length > 0) log(`using the ${name} backend, which is slower: ${problems.join("; ")}`);
      return backend;
    } catch (error) {
      (error instanceof NoDeviceError ? absent : problems).push(`${name}: ${(error as Error).message}`);
    }
  }
  throw new UserError(`no backend works here: ${[...absent, ...problems].join("; ")}`);
}

/** A backend that works here, opened, or why it does not work. `auto`: whether `auto` may take it. */
export type Probe =
  | { readonly name: string; readonly backend: Backend; readonly auto: boolean }
  | { readonly name: string; readonly why: string; readonly install: string };

/** Tries every backend of the table, in order. The caller closes those that opened. */
export async function probeBackends(device: number): Promise<Probe[]> {
  const probes: Probe[] = [];
  for (const entry of backends) {
    try {
      probes.push({ name: entry.name, ...(await openAsAutoWould(entry, device)) });
    } catch (error) {
      probes.push({ name: entry.name, why: (error as Error).message, install: "see the message" });
    }
  }
  return probes;
}

async function openAsAutoWould({ open }: BackendEntry, device: number): Promise<{ backend: Backend; auto: boolean }> {
  try {
    return { backend: await open(device, false), auto: true };
  } catch (error) {
    if (!(error instanceof NoDeviceError)) throw error;
    return { backend: await open(device, true), auto: false };
  }
}
