/** Shaders, as the build compiles them (bundler/wgsl.mjs). */
declare module "*.wgsl" {
  import type { KernelSource } from "./specialise.js";

  const source: KernelSource;
  export default source;
}
