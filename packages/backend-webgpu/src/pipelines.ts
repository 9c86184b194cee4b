import { failure } from "./errors.js";
import { keyOf, overridesOf, type Specialisation, specialise } from "./specialise.js";

const COMPUTE_STAGE = 0x4;

/** Compiles each specialisation once. */
export class Pipelines {
  readonly #device: GPUDevice;
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();
  readonly #layouts = new Map<number, GPUBindGroupLayout>();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  get(specialisation: Specialisation, bindings: number): Promise<GPUComputePipeline> {
    const key = keyOf(specialisation);
    const known = this.#pipelines.get(key);
    if (known) return known;
    const pipeline = this.#compile(specialisation, bindings, key);
    this.#pipelines.set(key, pipeline);
    return pipeline;
  }

  /** Uniforms at 0, then `bindings` storage buffers. */
  layout(bindings: number): GPUBindGroupLayout {
    const known = this.#layouts.get(bindings);
    if (known) return known;
    const layout = this.#device.createBindGroupLayout({
      entries: Array.from({ length: bindings + 1 }, (_, binding) => ({
        binding,
        visibility: COMPUTE_STAGE,
        buffer: { type: binding === 0 ? "uniform" : "storage" },
      })),
    });
    this.#layouts.set(bindings, layout);
    return layout;
  }

  async #compile(specialisation: Specialisation, bindings: number, key: string): Promise<GPUComputePipeline> {
    const device = this.#device;
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ label: key, code: specialise(specialisation) });
    const problem = device.popErrorScope();
    const pipeline = device.createComputePipelineAsync({
      label: key,
      layout: device.createPipelineLayout({ bindGroupLayouts: [this.layout(bindings)] }),
      compute: { module, entryPoint: "main", constants: overridesOf(specialisation) },
    });
    pipeline.catch(() => {}); // reported below, with the compiler's words if it has any
    const error = await problem;
    if (error) throw failure(`the shader ${key} does not compile: ${error.message}`);
    try {
      return await pipeline;
    } catch (cause) {
      throw failure(`no pipeline for the shader ${key}: ${(cause as Error).message}`, cause);
    }
  }
}
