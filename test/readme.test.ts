import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { examplesOf, expectedOutput } from "./support/examples.js";
import { installInto, packAll, type PackedPackage, publicPackages, root } from "./support/packed.js";

/**
 * The examples of the READMEs, as they stand, type-checked and run in a folder that holds the installed package (packed,
 * with the dependencies it declares) and nothing else.
 */
const scratch = mkdtempSync(join(tmpdir(), "readme-"));
let packed: Map<string, PackedPackage>;
beforeAll(() => {
  packed = packAll(mkdtempSync(join(scratch, "packed-")));
});
afterAll(() => rmSync(scratch, { recursive: true }));

const documents = publicPackages().map((folder) => {
  const path = join(root, folder, "README.md");
  const manifest = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8"));
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  return { folder, name: manifest.name as string, library: "." in (manifest.exports ?? {}), text };
});

describe.each(documents)("$folder/README.md", ({ name, library, text }) => {
  const examples = examplesOf(text);

  it("says how to install the package and shows an example", () => {
    expect(text).toMatch(new RegExp(`npm install (?:-\\S+ )*${name}`));
    if (library) expect(examples.length).toBeGreaterThan(0);
  });

  it.each(examples)("the example at line $line runs and prints what it says", ({ code }) => check(code, [name]));
});

describe("README.md", () => {
  const readme = readFileSync(join(root, "README.md"), "utf8");

  it("has exactly two commands in its first code block, both scripts of package.json", () => {
    const first = /^```[a-z]*\n([^]*?)^```$/m.exec(readme)?.[1] ?? "";
    const commands = first.split("\n").map((line) => line.replace(/#.*/, "").trim());
    expect(commands.filter((command) => command !== "")).toEqual(["npm start", "npm test"]);
  });

  it.each(examplesOf(readme))("the example at line $line runs and prints what it says", ({ code }) =>
    check(code, [...packed.keys()]),
  );
});

describe("expectedOutput", () => {
  it("finds trailing comments and arrows after console.log, and no others", () => {
    const code = [
      "const a = 1; // not this",
      "console.log(a); // 1",
      "console.log(",
      "  a, // nor this",
      "  2,",
      "); // → 1 2",
      'console.log("x\\ny");',
      "// → x",
      "// → y",
      "// nor this",
    ].join("\n");
    expect(expectedOutput(code)).toEqual({ lines: ["1", "1 2", "x", "y"], complete: true });
    expect(expectedOutput(`console.log(1);\n${code}`)).toMatchObject({ complete: false });
  });
});

/** Runs an example with these packages installed, and compares what it printed with what it says. */
function check(code: string, names: readonly string[]): void {
  const printed = run(code, names).trimEnd().split("\n");
  const { lines, complete } = expectedOutput(code);
  // An example that neither asserts nor says what it prints would pass whatever it did.
  expect(lines.length > 0 || /\bassert\b/.test(code)).toBe(true);
  if (complete && lines.length > 0) expect(printed).toEqual(lines);
  else expect(printed).toEqual(expect.arrayContaining([...lines]));
}

function run(code: string, names: readonly string[]): string {
  const folder = mkdtempSync(join(scratch, "example-"));
  installInto(folder, names, packed);
  writeFileSync(join(folder, "example.mts"), code);
  const options = ["--target es2023 --module nodenext --strict --skipLibCheck --types node --typeRoots"];
  const flags = [...options.join(" ").split(" "), join(root, "node_modules/@types"), "--outDir", "."];
  const compiled = spawnSync(join(root, "node_modules/.bin/tsc"), [...flags, "example.mts"], {
    cwd: folder,
    encoding: "utf8",
  });
  if (compiled.status !== 0) throw new Error(`the example does not type-check:\n${compiled.stdout}`);
  return execFileSync(process.execPath, ["example.mjs"], { cwd: folder, encoding: "utf8" });
}
