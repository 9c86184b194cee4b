import { defineConfig } from "tsup";
import shared from "../../tsup.config.js";
import { wgslForEsbuild } from "./bundler/wgsl.mjs";

/** As every package; its shaders, `kernels/**\/*.wgsl`, become part of the bundle. Nothing in it is Node's alone. */
export default defineConfig({
  ...shared,
  platform: "neutral",
  external: ["webgpu", /^node:/],
  esbuildPlugins: [wgslForEsbuild()],
});
