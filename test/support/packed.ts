import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { pnpmCommand } from "../../tools/pnpm.mjs";

export const root: string = fileURLToPath(new URL("../..", import.meta.url));

export interface Manifest {
  name: string;
  version: string;
  private?: boolean;
  exports?: Record<string, unknown>;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
}

/** A package as a registry would hand it out. */
export interface PackedPackage {
  /** Its folder in the workspace. */
  readonly source: string;
  /** Its unpacked tarball. */
  readonly folder: string;
  readonly manifest: Manifest;
}

/** Folders, relative to the root, of the packages that are meant to be published. */
export function publicPackages(): string[] {
  return readdirSync(join(root, "packages"))
    .map((name) => `packages/${name}`)
    .filter((folder) => existsSync(join(root, folder, "package.json")))
    .filter((folder) => !readManifest(join(root, folder)).private);
}

/** Packs every public package as publishing would and unpacks it below `folder`. They must have been built. */
export function packAll(folder: string): Map<string, PackedPackage> {
  const unbuilt = publicPackages().filter((p) => !existsSync(join(root, p, "dist/index.js")));
  if (unbuilt.length > 0) throw new Error(`not built: ${unbuilt.join(", ")}; run \`node tools/run.mjs build\` first`);
  const [command, ...args] = pnpmCommand() as [string, ...string[]];
  const filters = publicPackages().map((p) => `--filter=./${p}`);
  execFileSync(command, [...args, "-r", ...filters, "pack", "--pack-destination", folder], { cwd: root });
  const packed = new Map<string, PackedPackage>();
  for (const source of publicPackages()) {
    const { name, version } = readManifest(join(root, source));
    const target = join(folder, name);
    mkdirSync(target, { recursive: true });
    const tarball = join(folder, `${name.replace("@", "").replace("/", "-")}-${version}.tgz`);
    execFileSync("tar", ["-xzf", tarball, "-C", target, "--strip-components=1"]);
    packed.set(name, { source: join(root, source), folder: target, manifest: readManifest(target) });
  }
  return packed;
}

/** Puts into `folder`/node_modules what installing these packages would put there, and nothing else of ours. */
export function installInto(folder: string, names: readonly string[], packed: Map<string, PackedPackage>): void {
  const todo = [...names];
  const versions = new Map<string, string>();
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    const { source, folder: contents, manifest } = packed.get(name)!;
    const target = join(folder, "node_modules", name);
    if (existsSync(target)) continue;
    cpSync(contents, target, { recursive: true });
    for (const [dependency, range] of Object.entries(manifest.dependencies ?? {})) {
      if (packed.has(dependency)) todo.push(dependency);
      else if (!versions.has(dependency)) {
        const link = join(folder, "node_modules", dependency);
        mkdirSync(join(link, ".."), { recursive: true });
        symlinkSync(realpathSync(join(source, "node_modules", dependency)), link);
      } else if (versions.get(dependency) !== range) {
        throw new Error(`${name} asks for ${dependency} ${range}, another package for ${versions.get(dependency)}`);
      }
      if (!packed.has(dependency)) versions.set(dependency, range);
    }
  }
}

export function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest;
}
