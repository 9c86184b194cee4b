import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** The command line, to be followed by arguments, that runs the pnpm which package.json names. Node alone brings npx. */
export function pnpmCommand() {
  const wanted = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")).packageManager;
  const [, version] = /^pnpm@(\d+\.\d+\.\d+)$/.exec(wanted) ?? [];
  if (version === undefined) throw new Error(`package.json: "packageManager" must be "pnpm@x.y.z", got "${wanted}"`);
  const installed = spawnSync("pnpm", ["--version"], { cwd: root, encoding: "utf8", shell: onWindows });
  if (installed.status === 0 && installed.stdout.trim() === version) return ["pnpm"];
  return ["npx", "-y", "--prefer-offline", `pnpm@${version}`];
}

const onWindows = process.platform === "win32";

/** No telemetry, no update notes, no questions: the same from a terminal, a pipe and CI. */
const quietTools = {
  TURBO_TELEMETRY_DISABLED: "1",
  DO_NOT_TRACK: "1",
  TURBO_NO_UPDATE_NOTIFIER: "1",
  TURBO_UI: "false",
  npm_config_update_notifier: "false",
};

/**
 * Runs pnpm in the root of the repository; resolves to its exit code (128 + n where signal n ended it) and, with
 * `quiet`, to what it printed. SIGINT and SIGTERM are passed on, and the answer waits until pnpm has ended.
 *
 * @param {string[]} args
 * @param {{ quiet?: boolean }} [options]
 * @returns {Promise<{ code: number, output: string }>}
 */
export function pnpm(args, { quiet = false } = {}) {
  const [command, ...before] = /** @type {[string, ...string[]]} */ (pnpmCommand());
  const child = spawn(command, [...before, ...args], {
    cwd: root,
    env: { ...process.env, ...quietTools },
    shell: onWindows,
    stdio: ["ignore", quiet ? "pipe" : 2, quiet ? "pipe" : 2],
  });
  let output = "";
  child.stdout?.on("data", (chunk) => (output += chunk));
  child.stderr?.on("data", (chunk) => (output += chunk));
  const pass = (/** @type {NodeJS.Signals} */ signal) => child.kill(signal);
  process.on("SIGINT", pass).on("SIGTERM", pass);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      process.off("SIGINT", pass).off("SIGTERM", pass);
      resolve({ code: code ?? 128 + (signal ? constants.signals[signal] : 0), output });
    });
  });
}

// `node tools/pnpm.mjs ARGS` is `pnpm ARGS` where there may be no pnpm.
if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = (await pnpm(process.argv.slice(2))).code;
