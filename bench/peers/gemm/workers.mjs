/** Worker processes that time one matrix multiplication on request (see worker.cc for the protocol). */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/**
 * @typedef {object} Worker
 * @property {string} name
 * @property {(request: string) => Promise<number[]>} ask seconds per repetition (rates for "peak")
 * @property {() => string} version what the worker wrote to stderr
 * @property {() => void} close
 */

/**
 * @param {string} name
 * @param {string[]} command
 * @param {{ threads: number, env?: Record<string, string> }} options With one thread the worker is pinned to core 0.
 * @returns {Worker}
 */
export function startWorker(name, command, { threads, env = {} }) {
  const [file, ...args] = threads === 1 ? ["taskset", "-c", "0", ...command] : command;
  const child = spawn(/** @type {string} */ (file), args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  let errors = "";
  child.stderr.on("data", (chunk) => (errors += chunk));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    name,
    async ask(request) {
      child.stdin.write(`${request}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error(`${name} ended without an answer to "${request}": ${errors}`);
      return JSON.parse(value);
    },
    version: () => errors.trim(),
    close: () => child.stdin.end(),
  };
}
