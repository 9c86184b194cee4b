/** What a GPU can do at most, as its maker says. */
export interface DevicePeaks {
  /** Dense bf16 FLOP/s of the tensor cores, with f32 sums. */
  readonly bf16: number;
  /** f32 FLOP/s of the ordinary cores. */
  readonly f32: number;
  /** Bytes/s of the device's memory. */
  readonly bandwidth: number;
}

/** From NVIDIA's datasheets of these products (figures with sparsity halved); the first whose name is part of the device's. */
const known: readonly (readonly [name: string, peaks: DevicePeaks])[] = [
  ["H200", { bf16: 989e12, f32: 67e12, bandwidth: 4.8e12 }],
  ["H100 PCIe", { bf16: 756e12, f32: 51e12, bandwidth: 2.0e12 }],
  ["H100", { bf16: 989e12, f32: 67e12, bandwidth: 3.35e12 }],
  ["A100-SXM4-40GB", { bf16: 312e12, f32: 19.5e12, bandwidth: 1.555e12 }],
  ["A100", { bf16: 312e12, f32: 19.5e12, bandwidth: 2.039e12 }],
];

export function peaksOf(device: string): DevicePeaks | undefined {
  return known.find(([name]) => device.includes(name))?.[1];
}
