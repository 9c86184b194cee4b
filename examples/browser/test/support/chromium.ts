import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BrowserContext, chromium } from "playwright-core";
import { build, preview } from "vite";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** The browser that $CHROMIUM names, or the first on the path. */
export const executable: string | undefined =
  process.env.CHROMIUM ||
  (process.env.PATH ?? "")
    .split(delimiter)
    .flatMap((folder) => NAMES.map((name) => join(folder, name)))
    .find((file) => existsSync(file));

export interface Site {
  readonly url: string;
  readonly browser: BrowserContext;
  close(): Promise<void>;
}

/** Builds the page, serves it on the loopback interface, and opens a headless browser with a profile of its own. */
export async function openSite(): Promise<Site> {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const folder = await mkdtemp(join(tmpdir(), "slayer-page-"));
  const outDir = join(folder, "site");
  const common = { root, logLevel: "warn" } as const;
  await build({ ...common, build: { outDir, emptyOutDir: true } });
  const server = await preview({ ...common, build: { outDir }, preview: { host: "127.0.0.1", port: 0 } });
  const address = server.httpServer.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  const browser = await chromium.launchPersistentContext(join(folder, "profile"), {
    ...(executable && { executablePath: executable }),
    // Without a GPU, Chromium offers SwiftShader, which computes on the processor.
    args: [
      "--enable-unsafe-webgpu",
      "--disable-quic",
      "--disable-sync",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
    ],
    // Containers and root have none, and only our own page is opened.
    chromiumSandbox: false,
    viewport: { width: 1080, height: 1500 },
  });
  return {
    url: `http://127.0.0.1:${address.port}`,
    browser,
    close: async () => {
      await browser.close();
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
