#!/usr/bin/env node
import { Interrupted } from "./errors.js";
import { main } from "./main.js";

const controller = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.on(name, () => {
    const reason = new Interrupted(name);
    // The first time the work stops at a safe place; whoever asks again does not want to wait for it.
    if (controller.signal.aborted) process.exit(reason.exitCode);
    controller.abort(reason);
  });
}
// A reader that has seen enough (`slayer … | head`) is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

const { stdout, stderr, env } = process;
process.exitCode = await main(process.argv.slice(2), { stdout, stderr, env, signal: controller.signal });
