import { AddonMissingError, createCpuBackend } from "@slayer/backend-cpu";
import { createCudaBackend, CudaUnavailableError } from "@slayer/backend-cuda";
import { type Backend, createReferenceBackend } from "@slayer/tensor";
import { NotBuiltError, UserError } from "./errors.js";

interface BuiltBackend {
  readonly name: string;
  readonly open: (device: number) => Promise<Backend>;
  /** Why `auto` passes it by. */
  readonly onRequest?: string;
}

interface PlannedBackend {
  readonly name: string;
  readonly open?: undefined;
  /** What it will run on. */
  readonly needs: string;
}

/**
 * Every backend that can be asked for, best first: `auto` takes the first that opens. The only place that names concrete
 * backends; to add one, import it and give it a line.
 */
const backends: readonly (BuiltBackend | PlannedBackend)[] = [
  { name: "cuda", open: openCuda, onRequest: "it has not been tried on a GPU yet" },
  { name: "webgpu", needs: "a GPU with a Vulkan, Metal or Direct3D 12 driver" },
  { name: "cpu", open: openCpu },
  { name: "reference", open: openReference },
];

export const backendNames: readonly string[] = ["auto", ...backends.map(({ name }) => name)];

/** Whether `auto` considers this backend. */
export function takenByAuto(name: string): boolean {
  return backends.some((entry) => entry.name === name && entry.open !== undefined && entry.onRequest === undefined);
}

async function openCuda(device: number): Promise<Backend> {
  try {
    return await createCudaBackend({ device });
  } catch (error) {
    throw error instanceof CudaUnavailableError ? new UserError(error.message) : error;
  }
}

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
  if (entry.open === undefined)
    throw new NotBuiltError(`the ${name} backend`, `use --backend ${workingNames().join(" or ")}`);
  return entry.open(device);
}

async function openBest(device: number, log: (text: string) => void): Promise<Backend> {
  const problems: string[] = [];
  for (const { name, open } of backends) {
    if (open === undefined || !takenByAuto(name)) continue;
    try {
      const backend = await open(device);
      if (problems.length > 0) log(`using the ${name} backend, which is slower: ${problems.join("; ")}`);
      return backend;
    } catch (error) {
      problems.push(`${name}: ${(error as Error).message}`);
    }
  }
  throw new UserError(`no backend works here: ${problems.join("; ")}`);
}

const workingNames = (): string[] => backends.filter(({ open }) => open !== undefined).map(({ name }) => name);

/** A backend that works here, opened, or why it does not work. */
export type Probe =
  | { readonly name: string; readonly backend: Backend }
  | { readonly name: string; readonly why: string; readonly install: string };

/** Tries every backend of the table, in order. The caller closes those that opened. */
export async function probeBackends(device: number): Promise<Probe[]> {
  const probes: Probe[] = [];
  for (const entry of backends) {
    const { name } = entry;
    if (entry.open === undefined) {
      probes.push({ name, why: "not built yet", install: `a later version; it will need ${entry.needs}` });
      continue;
    }
    try {
      probes.push({ name, backend: await entry.open(device) });
    } catch (error) {
      probes.push({ name, why: (error as Error).message, install: "see the message" });
    }
  }
  return probes;
}
