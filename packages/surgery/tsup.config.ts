import { defineConfig } from "tsup";
import shared from "../../tsup.config.js";

/** The library, and beside it the file that its hashing thread runs. */
export default defineConfig({ ...shared, entry: ["src/index.ts", "src/hash-worker.js"] });
