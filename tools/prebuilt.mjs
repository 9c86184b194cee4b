#!/usr/bin/env node
/**
 * The native addon as packages of npm, one per platform, for those who install `@slayer/backend-cpu` without a compiler. For
 * the release workflow:
 *
 *   node tools/prebuilt.mjs pack OUT     OUT/PLATFORM/: a package with the addon that was built on this machine
 *   node tools/prebuilt.mjs link DIR     names every package in DIR as an optional dependency of packages/backend-cpu
 *
 * The dependencies are written at release time only: in the workspace they would ask for what is not published yet.
 */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./pnpm.mjs";

const backend = join(root, "packages/backend-cpu");
const { name, version, license, engines } = JSON.parse(readFileSync(join(backend, "package.json"), "utf8"));
const [verb, folder] = process.argv.slice(2);
if (folder !== undefined && verb === "pack") pack(folder);
else if (folder !== undefined && verb === "link") link(folder);
else {
  console.error("usage: node tools/prebuilt.mjs pack OUT | link DIR");
  process.exitCode = 2;
}

/** @param {string} out */
function pack(out) {
  const { platform, arch } = process;
  const target = platform === "linux" ? `${platform}-${arch}-gnu` : `${platform}-${arch}`;
  const into = join(out, target);
  mkdirSync(into, { recursive: true });
  const manifest = {
    name: `${name}-${target}`,
    version,
    description: `The native addon of ${name} for ${target}.`,
    license,
    main: "slayer_cpu.node",
    files: ["slayer_cpu.node"],
    os: [platform],
    cpu: [arch],
    ...(platform === "linux" && { libc: ["glibc"] }),
    engines,
  };
  writeFileSync(join(into, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  writeFileSync(
    join(into, "README.md"),
    `# ${manifest.name}\n\n${manifest.description} It is loaded by \`${name}\`.\n`,
  );
  copyFileSync(join(root, "LICENSE"), join(into, "LICENSE"));
  copyFileSync(join(backend, "build/Release/slayer_cpu.node"), join(into, "slayer_cpu.node"));
  console.log(into);
}

/** @param {string} dir */
function link(dir) {
  const path = join(backend, "package.json");
  const manifest = JSON.parse(readFileSync(path, "utf8"));
  const packages = readdirSync(dir).map((target) =>
    JSON.parse(readFileSync(join(dir, target, "package.json"), "utf8")),
  );
  const stale = packages.filter((p) => p.version !== version);
  if (stale.length > 0)
    throw new Error(`${stale.map((p) => `${p.name}@${p.version}`).join(", ")}: expected ${version}`);
  manifest.optionalDependencies = Object.fromEntries(packages.map((p) => [p.name, p.version]));
  writeFileSync(path, `${JSON.stringify(manifest, null, 2)}\n`);
}
