import { defineConfig } from "tsup";
import shared from "../../tsup.config.js";

/** The library, the part of it for browsers, and beside them the file that the encoding threads run. */
export default defineConfig({
  ...shared,
  entry: { index: "src/index.ts", browser: "src/browser.ts", "encode-worker": "src/store/encode-worker.ts" },
  splitting: false,
});
