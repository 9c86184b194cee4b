import type { MatrixUnit } from "./variants.js";

/** What is not among the types of WebGPU yet: the proposal "Subgroup Matrix", and Chromium's experiment with it. */
interface Config {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

const FINAL = "subgroup-matrix";
const EXPERIMENTAL = "chromium-experimental-subgroup-matrix";

/** Four of them are a workgroup, of 256 threads at most. */
const LARGEST_SUBGROUP = 64;

/**
 * The unit to compute products of f32 with; one that takes f16 only if products may be rounded so (`half`). Its sizes must divide the
 * parts of kernels/matmul/matmul_matrix.wgsl, 32 × 32 and 16 deep.
 */
export function matrixUnitOf(
  info: GPUAdapterInfo,
  features: ReadonlySet<string>,
  half: boolean,
): MatrixUnit | undefined {
  const feature = [FINAL, EXPERIMENTAL].find((name) => features.has(name));
  const lanes = info.subgroupMaxSize;
  if (feature === undefined || lanes > LARGEST_SUBGROUP) return undefined;
  const { subgroupMatrixConfigs = [] } = info as { subgroupMatrixConfigs?: readonly Config[] };
  const fitting = subgroupMatrixConfigs.filter(
    ({ resultComponentType, M, N, K }) => resultComponentType === "f32" && 32 % M === 0 && 32 % N === 0 && 16 % K === 0,
  );
  const found =
    fitting.find(({ componentType }) => componentType === "f32") ??
    (half ? fitting.find(({ componentType }) => componentType === "f16") : undefined);
  if (found === undefined) return undefined;
  const { M: m, N: n, K: k, componentType } = found;
  return { m, n, k, half: componentType === "f16", lanes, feature };
}
