import { defineConfig } from "tsup";
import shared from "../../tsup.config.js";

/** The library, and beside it the file that its encoding threads run. */
export default defineConfig({
  ...shared,
  entry: { index: "src/index.ts", "encode-worker": "src/store/encode-worker.ts" },
  splitting: false,
});
