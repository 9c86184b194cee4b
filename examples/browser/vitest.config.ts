import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const packages = fileURLToPath(new URL("../../packages/", import.meta.url));

/** Not part of the default run: it needs a browser, and compiles shaders on the processor. All on the built packages. */
export default defineConfig({
  resolve: { alias: [{ find: /^@slayer\/([a-z-]+)$/, replacement: `${packages}$1/dist/index.js` }] },
  test: {
    include: ["examples/browser/test/**/*.test.ts"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { requireAssertions: true },
  },
});
