import { defineConfig } from "tsup";
import shared from "../../tsup.config.js";

/** The package, and the part of it for browsers; nothing in that imports from Node. */
export default defineConfig({
  ...shared,
  entry: ["src/index.ts", "src/browser.ts"],
  splitting: false,
});
