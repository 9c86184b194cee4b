import { type Backend, createReferenceBackend, type OpName } from "@slayer/tensor";

export interface BackendUnderTest {
  readonly create: () => Promise<Backend>;
  /** Ops that it has no kernel for, all cases of them. Everything else runs against it. */
  readonly notSupported: readonly OpName[];
}

/** Every backend of the project. A new one is a line here. */
export const backends: Readonly<Record<string, BackendUnderTest>> = {
  reference: { create: async () => createReferenceBackend(), notSupported: [] },
};
