import { defineConfig } from "tsup";
import shared from "../../tsup.config.js";

/** The library (main and its types) and the executable, sharing their chunks. */
export default defineConfig({ ...shared, entry: ["src/index.ts", "src/bin.ts"], splitting: true });
