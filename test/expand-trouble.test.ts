import { spawn, spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, stat, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { Checkpoint } from "@slayer/checkpoint";
import { expand, planSlayer, verify } from "@slayer/surgery";
import { writeTinyCheckpoint } from "./support/tiny-checkpoint.js";

/** A full disk, an unreadable base and a process killed while it writes, with the built packages in processes of their own. */

const root = await mkdtemp(join(tmpdir(), "expand-trouble-"));
afterAll(() => rm(root, { recursive: true, force: true }));
const at = (...names: string[]): string => join(root, ...names);
const dist = (name: string): string => new URL(`../packages/${name}/dist/index.js`, import.meta.url).href;

/** 13 MB, so that surgery takes a while. */
await writeTinyCheckpoint(at("base"), { blocks: 8, hiddenSize: 256, vocabSize: 2000, tokenizer: null });

/** Expands `base` into argv[1]; what goes wrong is printed as JSON. argv[2]: a file that fills the disk meanwhile. */
const script = `
import { writeFileSync } from "node:fs";
import { Checkpoint } from ${JSON.stringify(dist("checkpoint"))};
import { expand, planSlayer } from ${JSON.stringify(dist("surgery"))};
const [, base, out, filler] = process.argv;
const checkpoint = await Checkpoint.open(base);
let filled = filler === undefined;
const onProgress = () => {
  if (filled) return;
  filled = true;
  try { for (let i = 0; ; i += 1) writeFileSync(filler + i, new Uint8Array(2 ** 16)); } catch {}
};
try {
  await expand(checkpoint, planSlayer(checkpoint.config), out, { onProgress });
  console.log("{}");
} catch ({ code, message }) {
  console.log(JSON.stringify({ code, message }));
}
`;
const node = ["--input-type=module", "--eval", script];

async function proved(out: string): Promise<void> {
  const [base, expanded] = [await Checkpoint.open(at("base")), await Checkpoint.open(out)];
  expect(await verify(base, expanded, { plan: planSlayer(base.config) })).toMatchObject({ ok: true });
  await base.close();
  await expanded.close();
}

describe("a full disk", () => {
  /** A small file system of its own for one command, which no privilege is needed for where user namespaces are allowed. */
  const onSmallDisk = (bytes: number, dir: string, command: string) =>
    spawnSync(
      "unshare",
      ["-rm", "sh", "-c", `mount -t tmpfs -o size=${bytes} none "$1" && shift && ${command}`, "sh", dir, ...node],
      { encoding: "utf8", env: { ...process.env, NODE: process.execPath, BASE: at("base"), OUT: dir } },
    );
  const able = process.platform === "linux" && onSmallDisk(2 ** 20, tmpdir(), "true").status === 0;

  test.skipIf(!able)(
    "too small from the beginning (needs user namespaces): refused with the numbers, before anything is written",
    async () => {
      await mkdir(at("small"));
      const { stdout } = onSmallDisk(4 * 2 ** 20, at("small"), '"$NODE" "$@" "$BASE" "$OUT/out"; ls -A "$OUT"');
      const [result, ...left] = stdout.trim().split("\n");
      expect(JSON.parse(result!)).toMatchObject({
        code: "no-space",
        message: expect.stringMatching(/needs \d+ bytes, \d+ are free/),
      });
      expect(left).toEqual([]);
    },
  );

  test.skipIf(!able)(
    "that becomes full meanwhile (needs user namespaces): an error that says so, and nothing is left",
    async () => {
      await mkdir(at("filled"));
      const run = '"$NODE" "$@" "$BASE" "$OUT/out" "$OUT/filler"; rm "$OUT"/filler*; ls -A "$OUT"';
      const { stdout } = onSmallDisk(24 * 2 ** 20, at("filled"), run);
      const [result, ...left] = stdout.trim().split("\n");
      expect(JSON.parse(result!)).toMatchObject({
        code: "no-space",
        message: expect.stringContaining("no space left"),
      });
      expect(left).toEqual([]);
    },
  );
});

test("a base that is cut off while it is read: an error that names the file, and nothing is left", async () => {
  await writeTinyCheckpoint(at("cut"), { tokenizer: null });
  const base = await Checkpoint.open(at("cut"));
  const file = at("cut", "model.safetensors");
  await truncate(file, (await stat(file)).size - 100);
  const expanding = expand(base, planSlayer(base.config, { prune: 1 }), at("cut-out"));
  await expect(expanding).rejects.toMatchObject({ code: "truncated", file });
  await base.close();
  expect((await readdir(root)).filter((name) => name.includes("cut-out"))).toEqual([]);
});

test("killed at any moment: nothing has the output's name, or all of it has; the next run is not disturbed", async () => {
  const out = at("killed", "out");
  await mkdir(at("killed"));
  let inTheMiddle = 0;
  for (const delay of [0, 10, 30, 60, 120]) {
    const child = spawn(process.execPath, [...node, at("base"), out], { stdio: "ignore" });
    const ended = new Promise((resolve) => child.on("exit", resolve));
    const started = async (): Promise<boolean> => (await readdir(at("killed"))).length > 0;
    while (!(await started()) && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 2));
    await new Promise((resolve) => setTimeout(resolve, delay));
    child.kill("SIGKILL");
    await ended;
    const names = await readdir(at("killed"));
    if (names.includes("out")) await proved(out);
    else inTheMiddle += 1;
    expect(names.filter((name) => name !== "out" && !name.startsWith(".out.partial-"))).toEqual([]);
    await rm(at("killed"), { recursive: true });
    await mkdir(at("killed"));
  }
  expect(inTheMiddle).toBeGreaterThan(0);
  const { stdout } = spawnSync(process.execPath, [...node, at("base"), out], { encoding: "utf8" });
  expect(stdout.trim()).toBe("{}");
  await proved(out);
});
