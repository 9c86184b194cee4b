#!/usr/bin/env node
/**
 * The native addons as packages of npm, one per backend and platform, for those who install `@slayer/backend-cpu` or
 * `@slayer/backend-cuda` without a compiler. For the release workflow:
 *
 *   node tools/prebuilt.mjs pack OUT     OUT/BACKEND-PLATFORM/: a package for each addon that was built on this machine
 *   node tools/prebuilt.mjs link DIR     names every package in DIR as an optional dependency of its backend
 *
 * backend-cuda's is packed only with the kernels for GPUs (native/kernels.mjs). The dependencies are written at release time only: in
 * the workspace they would ask for what is not published yet.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./pnpm.mjs";

/** What a backend's package holds, of what lies in its build/Release; the addon first. */
const backends = [
  { folder: "backend-cpu", files: ["slayer_cpu.node"] },
  { folder: "backend-cuda", files: ["slayer_cuda.node", "kernels"] },
];
const [verb, out] = process.argv.slice(2);
if (out !== undefined && verb === "pack") for (const backend of backends) pack(backend, out);
else if (out !== undefined && verb === "link") for (const { folder } of backends) link(folder, out);
else {
  console.error("usage: node tools/prebuilt.mjs pack OUT | link DIR");
  process.exitCode = 2;
}

/** @param {string} folder */
function manifestOf(folder) {
  return JSON.parse(readFileSync(join(root, "packages", folder, "package.json"), "utf8"));
}

/**
 * @param {{ folder: string, files: string[] }} backend
 * @param {string} into
 */
function pack({ folder, files }, into) {
  const { platform, arch } = process;
  const release = join(root, "packages", folder, "build/Release");
  const absent = files.filter((file) => !existsSync(join(release, file)));
  if (absent.length > 0) {
    console.error(`${folder}: not packed, ${absent.join(" and ")} was not built here`);
    return;
  }
  const { name, version, license, engines } = manifestOf(folder);
  const target = platform === "linux" ? `${platform}-${arch}-gnu` : `${platform}-${arch}`;
  const place = join(into, `${folder}-${target}`);
  mkdirSync(place, { recursive: true });
  const manifest = {
    name: `${name}-${target}`,
    version,
    description: `The native addon of ${name} for ${target}.`,
    license,
    main: files[0],
    files,
    os: [platform],
    cpu: [arch],
    ...(platform === "linux" && { libc: ["glibc"] }),
    engines,
  };
  writeFileSync(join(place, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  writeFileSync(
    join(place, "README.md"),
    `# ${manifest.name}\n\n${manifest.description} It is loaded by \`${name}\`.\n`,
  );
  cpSync(join(root, "LICENSE"), join(place, "LICENSE"));
  for (const file of files) cpSync(join(release, file), join(place, file), { recursive: true });
  console.log(place);
}

/**
 * @param {string} folder
 * @param {string} dir
 */
function link(folder, dir) {
  const path = join(root, "packages", folder, "package.json");
  const manifest = manifestOf(folder);
  const packages = readdirSync(dir)
    .map((target) => JSON.parse(readFileSync(join(dir, target, "package.json"), "utf8")))
    .filter((p) => p.name.startsWith(`${manifest.name}-`));
  if (packages.length === 0) return;
  const stale = packages.filter((p) => p.version !== manifest.version);
  if (stale.length > 0) {
    throw new Error(`${stale.map((p) => `${p.name}@${p.version}`).join(", ")}: expected ${manifest.version}`);
  }
  manifest.optionalDependencies = Object.fromEntries(packages.map((p) => [p.name, p.version]));
  writeFileSync(path, `${JSON.stringify(manifest, null, 2)}\n`);
}
