import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { scratch, slayer } from "./support/slayer.js";

const asked = process.env.SLAYER_CPU_ADDON;
beforeEach(() => void (process.env.SLAYER_CPU_ADDON = join(import.meta.dirname, "no-such-build.node")));
afterEach(() => {
  if (asked === undefined) delete process.env.SLAYER_CPU_ADDON;
  else process.env.SLAYER_CPU_ADDON = asked;
});

test.skipIf(existsSync("/dev/dri"))(
  "without native kernels the reference backend does the work, and says so once, with the reason and the mend (no GPU)",
  async () => {
    const dir = scratch();
    await writeTinyCheckpoint(join(dir, "model"));
    writeFileSync(join(dir, "text.txt"), "The quick brown fox jumps over the lazy dog. ".repeat(20));
    const perplexity = ["perplexity", join(dir, "model"), "--data", join(dir, "text.txt"), "--json"];
    const { code, stdout, stderr } = await slayer(perplexity);
    expect(code).toBe(0);
    expect(JSON.parse(stdout).perplexity).toBeGreaterThan(1);
    expect(
      stderr.match(/using the reference backend, which is slower: cpu: no native CPU kernels: it was not built here/g),
    ).toHaveLength(1);
    expect(stderr).toMatch(/install cmake and g\+\+ or clang\+\+ and run `pnpm build:native`/);
    const named = await slayer([...perplexity, "--backend", "cpu"]);
    expect(named.code).toBe(2);
    expect(named.stderr).toContain("no native CPU kernels");
  },
);
