import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { wgslForVite } from "./packages/backend-webgpu/bundler/wgsl.mjs";

const packages = fileURLToPath(new URL("./packages/", import.meta.url));
const kernels = fileURLToPath(new URL("./kernels/index.ts", import.meta.url));

/** Tests run on the sources; the built packages by test/packages.test.ts and test/readme.test.ts. */
export default defineConfig({
  plugins: [wgslForVite()],
  resolve: {
    alias: [
      { find: /^@slayer\/kernels$/, replacement: kernels },
      { find: /^@slayer\/([a-z-]+)$/, replacement: `${packages}$1/src/index.ts` },
    ],
  },
  test: {
    include: ["packages/*/test/**/*.test.ts", "kernels/**/*.test.ts", "bench/test/**/*.test.ts", "test/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    expect: { requireAssertions: true },
  },
});
