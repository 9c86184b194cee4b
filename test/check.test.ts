import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { checkDependencyReasons } from "../tools/check/dependency-reasons.mjs";
import { checkFileLengths } from "../tools/check/file-lengths.mjs";
import { checkImports } from "../tools/check/imports.mjs";
import { parseImports } from "../tools/check/parse-imports.mjs";
import { checkReadmeTree } from "../tools/check/readme-tree.mjs";
import { checkRegistry } from "../tools/check/registry.mjs";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** A sound little repository, with `changes` (null deletes) planted in it. */
function repository(changes: Record<string, string | null> = {}): string {
  const root = mkdtempSync(join(tmpdir(), "check-"));
  folders.push(root);
  const files: Record<string, string | null> = {
    "package.json": JSON.stringify({ name: "root", devDependencies: { vitest: "1" } }),
    "pnpm-lock.yaml": "lockfileVersion: '9.0'\n",
    ".npmrc": "engine-strict=true\n",
    "README.md":
      "# R\n\n<!-- tree -->\n\n```text\ndocs/\npackages/\n  model/   Llama\n  tensor/  graph\n```\n\n<!-- /tree -->\n",
    "docs/dependencies.md": "| package | reason |\n|---|---|\n| `vitest` | runs the tests |\n| `zod` | checks JSON |\n",
    "packages/tensor/package.json": JSON.stringify({ name: "@slayer/tensor" }),
    "packages/tensor/src/index.ts": "export const one = 1;\n",
    "packages/model/package.json": JSON.stringify({
      name: "@slayer/model",
      dependencies: { "@slayer/tensor": "workspace:^", zod: "4" },
    }),
    "packages/model/src/index.ts":
      'import { one } from "@slayer/tensor";\nimport * as z from "zod";\nexport * from "./deep/part.js";\nexport { one, z };\n',
    "packages/model/src/deep/part.ts": 'import type {} from "../index.js";\nimport "node:fs";\n',
    "packages/model/test/index.test.ts": 'import "vitest";\nimport "@slayer/cli";\n',
    ...changes,
  };
  for (const [file, text] of Object.entries(files)) {
    if (text === null) continue;
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  return root;
}

/** In two parts, so that this file does not name it. */
const host = ["registry", "npmjs.org"].join(".");

const checks = [checkImports, checkRegistry, checkReadmeTree, checkFileLengths, checkDependencyReasons];
const problemsOf = (root: string) => checks.flatMap((check) => check(root));
const model = (dependencies: Record<string, string>) => JSON.stringify({ name: "@slayer/model", dependencies });

describe("tools/check.mjs", () => {
  it("finds nothing in a sound repository", () => {
    expect(problemsOf(repository())).toEqual([]);
  });

  const planted: [title: string, changes: Record<string, string | null>, problems: string[]][] = [
    [
      "an import against the direction",
      {
        "packages/tensor/package.json": JSON.stringify({
          name: "@slayer/tensor",
          dependencies: { "@slayer/model": "workspace:^" },
        }),
        "packages/tensor/src/index.ts": 'export type { one } from "@slayer/model";\n',
      },
      [
        "packages/tensor/package.json: @slayer/tensor must not depend on @slayer/model",
        "packages/tensor/package.json: tensor has no dependency, but names @slayer/model",
      ],
    ],
    [
      "an import of an undeclared package",
      { "packages/tensor/src/index.ts": 'export const z = import("zod/v4");\n' },
      ["packages/tensor/src/index.ts: imports 'zod', which packages/tensor/package.json does not name in dependencies"],
    ],
    [
      "a declared package of the workspace that is not imported",
      { "packages/model/src/index.ts": 'export * as z from "zod";\n' },
      ["packages/model/package.json: @slayer/tensor is never imported"],
    ],
    [
      "a computed import",
      { "packages/model/src/deep/part.ts": "export const load = (name: string) => import(name);\n" },
      ["packages/model/src/deep/part.ts: a dynamic import must name its module in a plain string"],
    ],
    [
      "a relative import out of the package",
      { "packages/model/src/deep/part.ts": 'import "../../../tensor/src/index.js";\n' },
      ["packages/model/src/deep/part.ts: relative import '../../../tensor/src/index.js' leaves the package's sources"],
    ],
    [
      "a source that imports a test",
      { "packages/model/src/deep/part.ts": 'import "../../test/index.test.js";\n' },
      ["packages/model/src/deep/part.ts: relative import '../../test/index.test.js' leaves the package's sources"],
    ],
    [
      "a file outside the package by URL",
      { "packages/model/src/deep/part.ts": 'export const u = new URL("../../../x.json", import.meta.url);\n' },
      ["packages/model/src/deep/part.ts: relative import '../../../x.json' leaves the package's sources"],
    ],
    [
      "Node inside tensor",
      { "packages/tensor/src/index.ts": 'import "node:fs";\n' },
      ["packages/tensor/src/index.ts: tensor runs everywhere, but imports 'node:fs'"],
    ],
    [
      "a Node module without its prefix",
      { "packages/model/src/deep/part.ts": 'import "fs";\n' },
      [
        "packages/model/src/deep/part.ts: imports 'fs (write node:fs)', which packages/model/package.json does not name in dependencies",
      ],
    ],
    [
      "a package without a direction",
      { "packages/model/package.json": JSON.stringify({ name: "@slayer/modle", dependencies: { zod: "4" } }) },
      [
        "packages/model: no import direction for '@slayer/modle'; add it to tools/check/imports.mjs",
        "packages/model/src/index.ts: imports '@slayer/tensor', which packages/model/package.json does not name in dependencies",
      ],
    ],
    [
      "a test with an undeclared package",
      { "packages/model/test/index.test.ts": 'import "lodash";\n', "test/a.test.ts": 'import "zod";\n' },
      [
        "packages/model/test/index.test.ts: imports 'lodash', which no package.json above it declares",
        "test/a.test.ts: imports 'zod', which no package.json above it declares",
        "README.md: the tree lacks test/",
      ],
    ],
    [
      "an address in the lockfile",
      { "pnpm-lock.yaml": "a: 1\n  tarball: https://example.org/a.tgz\n" },
      ["pnpm-lock.yaml:2: an address in the lockfile: tarball: https://example.org/a.tgz"],
    ],
    [
      "a registry in .npmrc",
      { ".npmrc": "registry=https://example.org/\n" },
      [".npmrc:1: the registry is the user's choice: registry=https://example.org/"],
    ],
    ["a registry's host in a script", { "docs/a.md": `see ${host}\n` }, [`docs/a.md:1: names a registry: see ${host}`]],
    ["another lockfile", { "package-lock.json": "{}" }, ["package-lock.json: the lockfile is pnpm-lock.yaml"]],
    [
      "a README without a tree",
      { "README.md": "# R\n" },
      ["README.md: no fenced tree between <!-- tree --> and <!-- /tree -->"],
    ],
    [
      "a tree gone stale",
      { "README.md": "<!-- tree -->\n```\ndocs/\npackages/\n  model/\n  other/\n```\n<!-- /tree -->\n" },
      ["README.md: the tree shows packages/other/, which is not there", "README.md: the tree lacks packages/tensor/"],
    ],
    [
      "a long file",
      { "packages/model/src/deep/part.ts": "export {};\n".repeat(401) },
      ["packages/model/src/deep/part.ts: 401 lines, at most 400; split it by idea"],
    ],
    [
      "a dependency without a row, a row without a dependency, a row without a reason",
      { "docs/dependencies.md": "| `vitest` | |\n| `left-pad` | pads |\n" },
      [
        "docs/dependencies.md: no row for zod, which packages/model/package.json asks for",
        "docs/dependencies.md: no package.json asks for left-pad",
        "docs/dependencies.md: vitest has no reason",
      ],
    ],
  ];
  it.each(planted)("finds %s", (_, changes, problems) => {
    expect(problemsOf(repository(changes))).toEqual(problems);
  });

  it("does not count a 400-line file as long", () => {
    const root = repository({ "packages/model/src/deep/part.ts": `export {};\n${"\n".repeat(398)}export {};\n` });
    expect(problemsOf(root)).toEqual([]);
  });

  it("lets surgery depend on checkpoint and on nothing else of ours", () => {
    const surgery = (names: string[]) => ({
      "packages/surgery/package.json": JSON.stringify({
        name: "@slayer/surgery",
        dependencies: Object.fromEntries(names.map((name) => [name, "workspace:^"])),
      }),
      "packages/surgery/src/index.ts": names.map((name) => `import "${name}";\n`).join(""),
    });
    expect(checkImports(repository(surgery(["@slayer/checkpoint"])))).toEqual([]);
    for (const name of ["tensor", "model", "data", "train", "backend-cpu"]) {
      expect(checkImports(repository(surgery([`@slayer/${name}`])))).toEqual([
        `packages/surgery/package.json: @slayer/surgery must not depend on @slayer/${name}`,
      ]);
    }
  });

  it("lets the conformance package carry the kernels' cases, and no other package", () => {
    const user = (name: string) => ({
      [`packages/${name}/package.json`]: JSON.stringify({ name: `@slayer/${name}` }),
      [`packages/${name}/src/cases.ts`]: 'export * from "../../../kernels/index.js";\n',
    });
    expect(checkImports(repository(user("backend-conformance")))).toEqual([]);
    expect(checkImports(repository(user("eval")))).toEqual([
      "packages/eval/src/cases.ts: relative import '../../../kernels/index.js' leaves the package's sources",
    ]);
  });

  it("lets only the CLI depend on a backend", () => {
    const files = {
      "packages/model/package.json": model({ "@slayer/backend-cpu": "workspace:^", zod: "4", "@slayer/tensor": "1" }),
      "packages/model/src/deep/part.ts": 'import "@slayer/backend-cpu";\n',
    };
    expect(checkImports(repository(files))).toEqual([
      "packages/model/package.json: @slayer/model must not depend on @slayer/backend-cpu",
    ]);
  });
});

describe("parseImports", () => {
  it("sees every kind of import, and none in comments and strings", () => {
    const source = `
      import a, { type B } from "a";
      import type { C } from "c";
      export { d } from "d";
      export * as e from "e";
      import "f";
      const g = await import("g");
      type H = typeof import("h");
      const i = new URL("./i.json", import.meta.url);
      const j = new URL("./j", "file:///"); // import "j"
      const k = 'import "k"';
    `;
    expect(parseImports("a.ts", source).imports.toSorted()).toEqual(["./i.json", "a", "c", "d", "e", "f", "g", "h"]);
  });
});

describe("this repository", () => {
  it("passes tools/check.mjs", () => {
    expect(problemsOf(fileURLToPath(new URL("..", import.meta.url)))).toEqual([]);
  });
});
