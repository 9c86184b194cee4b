import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseSync } from "oxc-parser";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { installInto, packAll, type PackedPackage, publicPackages, readManifest, root } from "./support/packed.js";

/** What publishing would send, looked at before it is sent. */
const scratch = mkdtempSync(join(tmpdir(), "packages-"));
let packed: Map<string, PackedPackage>;
beforeAll(() => {
  packed = packAll(join(scratch, "packed"));
  installInto(scratch, [...packed.keys()], packed);
}, 120_000);
afterAll(() => rmSync(scratch, { recursive: true }));

const packages = publicPackages().map((folder) => ({ folder, name: nameOf(folder) }));

describe.each(packages)("$name, packed", ({ folder, name }) => {
  it("holds the build, the README and the license, and no test, source or build record", () => {
    const files = filesOf(packed.get(name)!.folder);
    expect(files).toEqual(expect.arrayContaining(["LICENSE", "README.md", "package.json"]));
    const allowed = /^(?:LICENSE|README\.md|package\.json|dist\/.*\.(?:js|js\.map|d\.ts|wasm))$/;
    expect(files.filter((file) => !allowed.test(file) || /\.test\.|(?:^|\/)test\//.test(file))).toEqual([]);
  });

  it("asks for published versions only, and runs nothing at install", () => {
    const { dependencies = {}, optionalDependencies = {}, peerDependencies = {}, ...rest } = packed.get(name)!.manifest;
    const ranges = { ...dependencies, ...optionalDependencies, ...peerDependencies };
    for (const [dependency, range] of Object.entries(ranges)) {
      expect(range, dependency).toMatch(/^\^?\d+\.\d+\.\d+$/);
      if (dependency.startsWith("@slayer/")) expect([...packed.keys()]).toContain(dependency);
    }
    const scripts = Object.keys((rest as { scripts?: object }).scripts ?? {});
    expect(scripts.filter((s) => /^(?:pre|post)?install$|^prepare$/.test(s))).toEqual([]);
  });

  it("exports what its README lists, and lists what it exports", async () => {
    const { exports = {} } = packed.get(name)!.manifest;
    if (!("." in exports)) return;
    const entry = exports["."] as { types: string; default: string };
    const path = (file: string) => join(scratch, "node_modules", name, file);
    const values = Object.keys((await import(/* @vite-ignore */ pathToFileURL(path(entry.default)).href)) as object);
    const { module } = parseSync("index.d.ts", readFileSync(path(entry.types), "utf8"));
    const declared: unknown[] = module.staticExports.flatMap((e) => e.entries.map((entry) => entry.exportName.name));
    const readme = join(root, folder, "README.md");
    const text = existsSync(readme) ? readFileSync(readme, "utf8") : "";
    // Mentioned: as a word in a code span. Listed: first in a row or item under "Exports".
    const mentioned = new Set([...text.matchAll(/`([^`\n]+)`/g)].flatMap((span) => span[1]!.match(/[\w$]+/g) ?? []));
    const section = /^## Exports\n([^]*?)(?=^## |$(?![^]))/m.exec(text)?.[1] ?? "";
    const listed = section
      .split("\n")
      .flatMap((line) => /^(?:\||-) ?((?:`[^`]+`[, ]*)+)/.exec(line)?.[1]?.match(/(?<=`)[\w$]+/g) ?? []);
    expect(values.filter((value) => !mentioned.has(value))).toEqual([]);
    expect(listed.filter((value) => !declared.includes(value))).toEqual([]);
  });
});

describe("what an install brings", () => {
  const closure = (name: string, seen = new Set<string>()): Set<string> => {
    for (const dependency of Object.keys(packed.get(name)?.manifest.dependencies ?? {})) {
      if (!seen.has(dependency)) closure(dependency, seen.add(dependency));
    }
    return seen;
  };

  it("@slayer/surgery brings checkpoints, zod and yaml, and no tensor library", () => {
    expect([...closure("@slayer/surgery")].toSorted()).toEqual(["@slayer/checkpoint", "yaml", "zod"]);
  });

  it("only @slayer/cli brings a backend", () => {
    const withBackend = [...packed.keys()].filter((name) => [...closure(name)].some((d) => /backend-(?!conf)/.test(d)));
    expect(withBackend.filter((name) => !/^@slayer\/(?:cli|backend-\w+)$/.test(name))).toEqual([]);
  });
});

describe("what a bundler for browsers takes", () => {
  const entryOf = (name: string) => {
    const entry = packed.get(name)!.manifest.exports!["."] as { browser?: { default: string }; default: string };
    return join(packed.get(name)!.folder, entry.browser?.default ?? entry.default);
  };
  const moduleOf = (file: string) => parseSync(file, readFileSync(file, "utf8")).module;

  it.each([
    "tensor",
    "checkpoint",
    "model",
    "optim",
    "data",
    "importance",
    "eval",
    "backend-webgpu",
    "backend-conformance",
  ])("@slayer/%s imports nothing of Node's, and of other packages what their entries for browsers export", (short) => {
    const { staticImports } = moduleOf(entryOf(`@slayer/${short}`));
    expect(staticImports.length + Number(short === "tensor")).toBeGreaterThan(0);
    for (const { moduleRequest, entries } of staticImports) {
      expect(moduleRequest.value).not.toMatch(/^node:|^\./);
      if (!packed.has(moduleRequest.value)) continue;
      const { staticExports } = moduleOf(entryOf(moduleRequest.value));
      const exported = staticExports.flatMap((e) => e.entries.map((entry) => entry.exportName.name));
      expect(exported).toEqual(expect.arrayContaining(entries.map((entry) => entry.importName.name)));
    }
  });
});

describe("@slayer/backend-cpu as npm installs it", () => {
  const built = existsSync(join(root, "packages/backend-cpu/build/Release/slayer_cpu.node"));
  /** Runs a program where `folder`/node_modules is, and gives what it printed. */
  const run = (folder: string, program: string) =>
    execFileSync(process.execPath, ["--input-type=module", "-e", program], { cwd: folder, encoding: "utf8" });
  const install = (name: string) => {
    const folder = join(scratch, name);
    installInto(folder, ["@slayer/backend-cpu"], packed);
    return folder;
  };

  it("without a prebuilt package nothing is compiled, and the error says what was tried and what helps", () => {
    const said = run(
      install("bare"),
      `import { createCpuBackend } from "@slayer/backend-cpu";
       await createCpuBackend().catch((error) => console.log(error.name, error.message));`,
    );
    expect(said).toMatch(
      /^AddonMissingError no native CPU kernels: it was not built here; @slayer\/backend-cpu-\S+ is not installed\. In a clone .* run `pnpm build:native`\n$/,
    );
  });

  it.skipIf(!built)("with the one that the release packs, it computes (needs the addon, built here)", () => {
    const folder = install("prebuilt");
    const addons = join(scratch, "addons");
    const tool = (...args: string[]) => execFileSync(process.execPath, [join(root, "tools/prebuilt.mjs"), ...args]);
    tool("pack", addons);
    const folderName = readdirSync(addons).find((name) => name.startsWith("backend-cpu-"))!;
    const manifest = readManifest(join(addons, folderName));
    expect(manifest.name).toBe(`@slayer/${folderName}`);
    cpSync(join(addons, folderName), join(folder, "node_modules", manifest.name), { recursive: true });
    const sum = run(
      folder,
      `import { createCpuBackend } from "@slayer/backend-cpu";
       import { add, Graph, Program, Store } from "@slayer/tensor";
       const backend = await createCpuBackend({ threads: 2 });
       const graph = new Graph();
       const y = add(graph.input("a", [2], "f32"), graph.input("b", [2], "f32"));
       const program = await Program.compile(graph, { y }, new Store(backend));
       await program.run({ a: Float32Array.of(1, 2), b: Float32Array.of(3, 4) });
       console.log(...(await program.read("y")));
       await backend.close();`,
    );
    expect(sum).toBe("4 6\n");
  });
});

function nameOf(folder: string): string {
  return (JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8")) as { name: string }).name;
}

function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .toSorted();
}
