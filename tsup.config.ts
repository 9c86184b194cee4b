import { defineConfig } from "tsup";

/** Every package builds the same way: ESM from src/index.ts; declarations come from `tsc -b`. */
export default defineConfig({
  entry: ["src/index.ts"],
  format: "esm",
  target: "es2023",
  platform: "node",
  removeNodeProtocol: false,
  sourcemap: true,
  dts: false,
  clean: false,
});
