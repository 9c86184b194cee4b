import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const page = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Two pages; the packages come built, through their exports, as they would from a registry. */
export default defineConfig({
  base: "./",
  build: {
    target: "es2023",
    chunkSizeWarningLimit: 1024,
    // Dawn for Node, which only this workspace has installed: in a browser it is never loaded.
    rolldownOptions: { input: [page("index.html"), page("conformance.html")], external: ["webgpu"] },
  },
});
