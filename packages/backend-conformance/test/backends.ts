import { AddonMissingError, availableIsas, createCpuBackend } from "@slayer/backend-cpu";
import { AdapterMissingError, createWebgpuBackend } from "@slayer/backend-webgpu";
import { type Backend, createReferenceBackend, fusedOps, type OpName } from "@slayer/tensor";

export interface BackendUnderTest {
  readonly create: () => Promise<Backend>;
  /** Ops that it has no kernel for, all cases of them. Everything else runs against it. */
  readonly notSupported: readonly OpName[];
  /** What it stores in bf16: nothing, weights, or activations too. */
  readonly bf16: "none" | "weights" | "all";
  /** Whether it rounds stochastically, which must be the same everywhere to the bit. */
  readonly stochastic: boolean;
  /** Why it cannot be checked on this machine, if so. */
  readonly missing?: string;
}

/** Every backend of the project. A new one is a line here. */
export const backends: Readonly<Record<string, BackendUnderTest>> = {
  reference: { create: async () => createReferenceBackend(), notSupported: [], bf16: "all", stochastic: true },
  cpu: {
    create: () => createCpuBackend(),
    notSupported: fusedOps.filter((op) => op.startsWith("matmul")),
    bf16: "weights",
    stochastic: false,
    ...(await reasonIfMissing(availableIsas)),
  },
  webgpu: {
    create: () => createWebgpuBackend(),
    notSupported: fusedOps.filter((op) => !op.startsWith("lm_head")),
    bf16: "all",
    stochastic: false, // WGSL's division and square root need not be exact
    ...(await reasonIfMissing(async () => (await createWebgpuBackend()).close())),
  },
};

/** Why `probe` says that a native addon or an adapter is missing; any other error is one. */
async function reasonIfMissing(probe: () => unknown): Promise<{ missing?: string }> {
  try {
    await probe();
    return {};
  } catch (error) {
    if (error instanceof AddonMissingError || error instanceof AdapterMissingError) return { missing: error.message };
    throw error;
  }
}
