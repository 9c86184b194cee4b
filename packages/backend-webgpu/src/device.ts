import type { TuningStore } from "@slayer/tensor";
import { AdapterMissingError } from "./errors.js";
import type { DeviceTraits } from "./lowering.js";
import { matrixUnitOf } from "./matrix-unit.js";
import { candidates, possible, type Variant } from "./variants.js";

export interface WebgpuOptions {
  /** Where adapters come from; by default the browser's navigator.gpu, or npm's `webgpu` package in Node. */
  readonly gpu?: GPU;
  /** The adapter to use; by default the fastest that `gpu` offers. */
  readonly adapter?: GPUAdapter;
  /** False: an adapter that computes on the processor (lavapipe, SwiftShader, WARP) is refused. */
  readonly software?: boolean;
  /** Kernels as chosen for a GPU, or for the processor, whatever the adapter is: for tests. */
  readonly kernels?: "gpu" | "processor";
  /**
   * With `tuning`, products may be computed on operands rounded to f16 where that is faster: 11 bits, beyond 65504 infinite, below 6e-8
   * zero. Sums stay in f32.
   */
  readonly half?: boolean;
  /** How to compute every matrix product that can be computed so, whatever was measured: for tests. */
  readonly products?: Variant;
  /** Limits to stay below, where the adapter's are not to be used up: for tests, and to share a device. */
  readonly limits?: {
    readonly bindingBytes?: number;
    readonly invocations?: number;
    /** Of the smallest subgroups; 0: none. */
    readonly subgroupSize?: number;
  };
  /** Choose among kernels by measuring them, and keep the outcome there; without it, by rules. */
  readonly tuning?: TuningStore;
  /** Measure each kernel's time on the device, see `kernelTimes`. Needs the feature timestamp-query, and takes its time. */
  readonly profile?: boolean;
}

export interface OpenDevice {
  readonly device: GPUDevice;
  readonly traits: DeviceTraits;
  /** The adapter in words. */
  readonly description: string;
}

/** What Dawn makes; it must outlive every device, and a process must not let go of it (dawn.node crashes). */
let dawn: GPU | undefined;

/** Opens a device with all of the adapter's limits. Rejects with an AdapterMissingError. */
export async function openDevice(options: WebgpuOptions): Promise<OpenDevice> {
  const adapter = options.adapter ?? (await findAdapter(options.gpu ?? (await findGpu())));
  const { info, limits, features } = adapter;
  const software = isSoftware(info);
  const name = [info.description || info.device, info.vendor, info.architecture].filter(Boolean).join(", ");
  if (software && options.software === false) {
    throw new AdapterMissingError(
      `the only WebGPU adapter, ${name}, computes on the processor; the cpu backend is faster`,
    );
  }
  const half = options.half === true && features.has("shader-f16");
  const measured = options.tuning !== undefined || options.products !== undefined;
  const matrixUnit = measured ? matrixUnitOf(info, features, half) : undefined;
  const wanted: GPUFeatureName[] = [
    "subgroups",
    ...(options.profile ? ["timestamp-query" as const] : []),
    ...(half ? ["shader-f16" as const] : []),
    ...(matrixUnit ? [matrixUnit.feature as GPUFeatureName] : []),
  ];
  const device = await adapter.requestDevice({
    requiredFeatures: wanted.filter((feature) => features.has(feature)),
    requiredLimits: {
      maxBufferSize: limits.maxBufferSize,
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
      maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
      maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
      maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
    },
  });
  const given = device.limits;
  const processor = options.kernels === undefined ? software : options.kernels === "processor";
  const products = { software: processor, half, matrixUnit };
  return {
    device,
    description: `${name}${software ? ", on the processor" : ""}`,
    traits: {
      bindingBytes: Math.min(given.maxStorageBufferBindingSize, options.limits?.bindingBytes ?? Infinity),
      workgroupsPerDimension: given.maxComputeWorkgroupsPerDimension,
      workgroupStorageBytes: given.maxComputeWorkgroupStorageSize,
      invocations: Math.min(given.maxComputeInvocationsPerWorkgroup, options.limits?.invocations ?? Infinity),
      alignment: given.minStorageBufferOffsetAlignment,
      subgroups: device.features.has("subgroups") ? subgroupsOf(info, options.limits?.subgroupSize) : undefined,
      ...products,
      variant: (shape) => {
        const forced = options.products;
        return forced && possible(forced, shape, products) ? forced : candidates(shape, products)[0]!;
      },
    },
  };
}

/** With a limit, kernels for smaller subgroups are chosen; 0: those for none. */
function subgroupsOf({ subgroupMinSize: min, subgroupMaxSize: max }: GPUAdapterInfo, limit = Infinity) {
  return limit === 0 ? undefined : { min: Math.min(min, limit), max };
}

async function findAdapter(gpu: GPU): Promise<GPUAdapter> {
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter) return adapter;
  throw new AdapterMissingError(
    "WebGPU has no adapter here: it needs a GPU with a Vulkan, Metal or Direct3D 12 driver (Vulkan: libvulkan.so.1 too)",
  );
}

async function findGpu(): Promise<GPU> {
  const { navigator } = globalThis as { navigator?: { gpu?: GPU } };
  if (navigator?.gpu) return navigator.gpu;
  if (dawn) return dawn;
  try {
    const { create } = await import("webgpu");
    // Else times of kernels are multiples of 65 µs, and matrix units, an experiment, are not offered.
    dawn = create(["disable-dawn-features=timestamp_quantization", "enable-dawn-features=allow_unsafe_apis"]);
    return dawn;
  } catch (cause) {
    throw new AdapterMissingError(
      `there is no navigator.gpu, and npm's package webgpu cannot be loaded: npm install webgpu (${(cause as Error).message.split("\n")[0]})`,
      { cause },
    );
  }
}

function isSoftware(info: GPUAdapterInfo): boolean {
  const text = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`;
  return info.isFallbackAdapter || /llvmpipe|swiftshader|microsoft basic render/i.test(text);
}
