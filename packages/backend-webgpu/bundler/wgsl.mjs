import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/**
 * What the build makes of `x.wgsl`: a module whose default export is a KernelSource (src/wgsl.d.ts). Includes are put
 * in place, comments taken out, and what the host must supply is read off the declarations:
 *
 *   #include "y.wgsl"    the lines of that file, once
 *   #if FLAG … #else … #endif, #if !FLAG    kept or dropped when a kernel is specialised (src/specialise.ts)
 *   #const NAME          a u32 constant known when the kernel is specialised: sizes of private arrays must be
 *   override NAME: u32   a pipeline-overridable constant
 *   struct Params        the uniforms: u32, i32 and f32 scalars only, in order
 *
 * @param {string} path
 * @returns {{ module: string, files: string[] }} the module's text, and every file it came from
 */
export function compileWgsl(path) {
  const files = /** @type {string[]} */ ([]);
  const lines = read(path, files);
  const text = lines.join("\n");
  const struct = /struct Params \{([^}]*)\}/.exec(text)?.[1] ?? "";
  const params = [...struct.matchAll(/(\w+):\s*(\w+)/g)].map(([, name, type]) => {
    if (!["u32", "i32", "f32"].includes(type ?? "")) {
      throw new Error(`${path}: Params.${name} must be u32, i32 or f32, not ${type}`);
    }
    return [name, type];
  });
  const names = (/** @type {RegExp} */ pattern) => [...new Set([...text.matchAll(pattern)].map((m) => m[1]))];
  const source = {
    name: /** @type {string} */ (path.split("/").at(-1)).replace(/\.wgsl$/, ""),
    lines,
    params,
    constants: names(/^#const (\w+)$/gm),
    overrides: names(/^override (\w+): u32/gm),
    flags: names(/^#if !?(\w+)$/gm),
    writes: names(/@binding\((\d+)\) var<storage, read_write>/g).map(Number),
  };
  return { module: `export default ${JSON.stringify(source)};\n`, files };
}

/**
 * @param {string} path
 * @param {string[]} files read so far; a second include of one is empty
 * @returns {string[]}
 */
function read(path, files) {
  if (files.includes(path)) return [];
  files.push(path);
  return readFileSync(path, "utf8")
    .split("\n")
    .map((line) => line.replace(/\s*\/\/.*$/, "").trim())
    .filter((line) => line !== "")
    .flatMap((line) => {
      const include = /^#include "([^"]+)"$/.exec(line)?.[1];
      return include === undefined ? [line] : read(resolve(dirname(path), include), files);
    });
}

/** @returns {NonNullable<import("tsup").Options["esbuildPlugins"]>[number]} */
export function wgslForEsbuild() {
  return {
    name: "wgsl",
    setup(build) {
      build.onLoad({ filter: /\.wgsl$/ }, async ({ path }) => {
        const { module, files } = compileWgsl(path);
        return { contents: module, loader: "js", watchFiles: files };
      });
    },
  };
}

/** The same for the tests, which run on the sources. */
export function wgslForVite() {
  return {
    name: "wgsl",
    enforce: /** @type {const} */ ("pre"),
    /** @param {string} id */
    async load(id) {
      if (!id.endsWith(".wgsl")) return undefined;
      await readFile(id); // a missing file is reported with its path
      return compileWgsl(id).module;
    },
  };
}
