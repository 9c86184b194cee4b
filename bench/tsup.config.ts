import { defineConfig } from "tsup";
import { wgslForEsbuild } from "../packages/backend-webgpu/bundler/wgsl.mjs";
import shared from "../tsup.config.js";

export default defineConfig([
  { ...shared, entry: ["src/main.ts"], noExternal: ["@slayer/kernels"] },
  // All in one file: tools/gpu/pack.sh carries it to machines that have nothing.
  {
    ...shared,
    entry: { gpu: "src/gpu/main.ts" },
    noExternal: [/^(?!webgpu$)/],
    external: ["webgpu"],
    esbuildPlugins: [wgslForEsbuild()],
  },
]);
