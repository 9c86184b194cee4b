import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { beforeEach, describe, expect, it } from "vitest";

import { checkFreeSpace, withOutputDirectory, writeFileAtomic } from "@slayer/checkpoint";

import { failure, put, scratch } from "./files.js";

let parent: string;
let out: string;
beforeEach(async () => {
  parent = await scratch();
  out = join(parent, "out");
});

const fill = async (dir: string): Promise<string> => {
  await mkdir(join(dir, "sub"));
  await writeFile(join(dir, "sub", "file"), "new", { mode: 0o444 }); // like files of the Hugging Face cache
  return "done";
};

describe("withOutputDirectory", () => {
  it("works beside the output, which appears at the end, parents included", async () => {
    const deep = join(parent, "a", "b");
    const result = await withOutputDirectory(deep, {}, async (dir) => {
      expect(dirname(dir)).toBe(dirname(deep));
      expect(dir).toContain(".b.partial-");
      await expect(stat(deep)).rejects.toThrow("ENOENT");
      return fill(dir);
    });
    expect(result).toBe("done");
    expect(await readFile(join(deep, "sub", "file"), "utf8")).toBe("new");
    expect(await readdir(dirname(deep))).toEqual(["b"]);
  });

  it("leaves nothing when the work fails in the middle", async () => {
    const work = withOutputDirectory(out, {}, async (dir) => {
      await fill(dir);
      throw new Error("in the middle");
    });
    await expect(work).rejects.toThrow("in the middle");
    expect(await readdir(parent)).toEqual([]);
  });

  it("refuses an output that exists, before the work and after it", async () => {
    await mkdir(out);
    let started = false;
    const error = await failure(() => withOutputDirectory(out, {}, async () => (started = true)));
    expect([error.code, error.file, started]).toEqual(["exists", out, false]);
    const late = join(parent, "late");
    const other = await failure(() => withOutputDirectory(late, {}, () => mkdir(late)));
    expect(other.code).toBe("exists");
    expect((await readdir(parent)).sort()).toEqual(["late", "out"]);
  });

  it("overwriting keeps the old directory until the new one is complete, and then removes it", async () => {
    await mkdir(out);
    await put(out, "old", "old");
    await withOutputDirectory(out, { overwrite: true }, async (dir) => {
      expect(await readdir(out)).toEqual(["old"]);
      return fill(dir);
    });
    expect(await readdir(out)).toEqual(["sub"]);
    expect(await readdir(parent)).toEqual(["out"]);
  });

  it("overwriting that fails leaves the old directory as it was", async () => {
    await mkdir(out);
    await put(out, "old", "old");
    await expect(withOutputDirectory(out, { overwrite: true }, () => Promise.reject(new Error("no")))).rejects.toThrow(
      "no",
    );
    expect(await readFile(join(out, "old"), "utf8")).toBe("old");
    expect(await readdir(parent)).toEqual(["out"]);
  });

  it("never replaces what is no directory, nor the root", async () => {
    const file = await put(parent, "file", "x");
    expect((await failure(() => withOutputDirectory(file, { overwrite: true }, fill))).code).toBe("not-a-directory");
    expect(await readFile(file, "utf8")).toBe("x");
    expect((await failure(() => withOutputDirectory("/", { overwrite: true }, fill))).code).toBe("exists");
    if (process.platform === "win32") return;
    await symlink(parent, join(parent, "link"));
    const link = await failure(() => withOutputDirectory(join(parent, "link"), { overwrite: true }, fill));
    expect(link.code).toBe("not-a-directory");
  });

  it("refuses to start when the disk lacks the space", async () => {
    let started = false;
    const options = { neededBytes: Number.MAX_SAFE_INTEGER };
    const error = await failure(() => withOutputDirectory(out, options, async () => (started = true)));
    expect([error.code, started]).toEqual(["no-space", false]);
    expect(error.message).toContain(String(Number.MAX_SAFE_INTEGER));
    expect(await readdir(parent)).toEqual([]);
    await checkFreeSpace(parent, 1);
  });
});

describe("writeFileAtomic", () => {
  it("writes and replaces, and leaves no other file", async () => {
    const file = join(parent, "file");
    await writeFileAtomic(file, "ä");
    await writeFileAtomic(file, Uint8Array.of(1, 2));
    expect([...(await readFile(file))]).toEqual([1, 2]);
    expect(await readdir(parent)).toEqual(["file"]);
  });

  it("leaves the old content and no other file when it fails", async () => {
    await mkdir(out);
    await put(out, "in", "x");
    await expect(writeFileAtomic(out, "y")).rejects.toThrow(); // a file cannot replace a directory
    expect(await readdir(parent)).toEqual(["out"]);
    expect(await readdir(out)).toEqual(["in"]);
  });
});
