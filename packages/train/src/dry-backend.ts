import type { Backend, Buffer, Capabilities } from "@slayer/tensor";

/** Counts the memory that a backend holds. */
export interface Meter {
  readonly backend: Backend;
  /** Bytes allocated and not freed. */
  bytes(): number;
  /** The most that `bytes` has been. */
  peak(): number;
  /** Of `bytes`, what prepared plans share beside their operands: the most that one of them needs, and what smaller ones had before. */
  workspace(): number;
}

/** The same backend, counted. */
export function metered(backend: Backend): Meter {
  let [bytes, peak] = [0, 0];
  let [workspace, largest] = [0, 0];
  const take = (more: number) => {
    bytes += more;
    peak = Math.max(peak, bytes);
  };
  const sizes = new Map<Buffer, number>();
  return {
    backend: {
      name: backend.name,
      capabilities: backend.capabilities,
      supports: (kernel) => backend.supports(kernel),
      compile: (kernel) => backend.compile(kernel),
      allocate(size) {
        const buffer = backend.allocate(size);
        sizes.set(buffer, size);
        take(size);
        return buffer;
      },
      free(buffer) {
        backend.free(buffer);
        bytes -= sizes.get(buffer) ?? 0;
        sizes.delete(buffer);
      },
      write: (buffer, offset, data) => backend.write(buffer, offset, data),
      read: (buffer, offset, size) => backend.read(buffer, offset, size),
      async prepare(plan, bindings) {
        const executable = await backend.prepare(plan, bindings);
        const wanted = backend.workspaceBytes?.(plan) ?? 0;
        if (wanted > largest) {
          take(wanted);
          workspace += wanted;
          largest = wanted;
        }
        return executable;
      },
      run: (executable, signal) => backend.run(executable, signal),
      close: () => backend.close(),
      workspaceBytes: (plan) => backend.workspaceBytes?.(plan) ?? 0,
    },
    bytes: () => bytes,
    peak: () => peak,
    workspace: () => workspace,
  };
}

/**
 * A backend that allocates and computes nothing: setting a run up on it, metered, tells what the run will take on a device with
 * these capabilities. `supports` is the device's, so that what it lacks is known too.
 */
export function createDryBackend(
  device: Pick<Backend, "name" | "supports" | "workspaceBytes"> & { capabilities: Capabilities },
): Backend {
  const { name, capabilities } = device;
  return {
    name,
    capabilities,
    supports: (kernel) => device.supports(kernel),
    compile: async () => {},
    allocate: (bytes) => ({ bytes }),
    free() {},
    write: async () => {},
    read: async (_, __, bytes) => new Uint8Array(bytes),
    prepare: async (plan) => ({ plan }),
    run: async () => {},
    close: async () => {},
    workspaceBytes: (plan) => device.workspaceBytes?.(plan) ?? 0,
  };
}
