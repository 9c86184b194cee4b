import { createHash } from "node:crypto";
import { mkdir, realpath } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { RecipeError } from "./errors.js";

/**
 * Holds a run's directory, which is made if need be, so that no two runs write into it at once. What is held is a name that the
 * system frees however the process ends: an abstract socket on Linux, a pipe on Windows. Elsewhere, and against processes in other
 * containers or on other machines, nothing is held. Resolves to what lets go of it.
 * @throws RecipeError where another run has it
 */
export async function holdDirectory(dir: string): Promise<() => void> {
  await mkdir(dir, { recursive: true });
  const id = `slayer-run-${createHash("sha256")
    .update(await realpath(dir))
    .digest("hex")
    .slice(0, 32)}`;
  const name = { linux: `\0${id}`, win32: `\\\\.\\pipe\\${id}` }[process.platform as string];
  if (name === undefined) return () => {};
  const server = createServer((socket) => socket.destroy()).unref();
  if (!(await isListening(server, name))) {
    throw new RecipeError(`${dir}: another run is writing there at this moment; let it end, or choose another out`);
  }
  return () => void server.close();
}

/** False where the name is taken; where the system has no such names, nothing can be told, and it is as if it were free. */
function isListening(server: Server, path: string): Promise<boolean> {
  return new Promise((resolve) => {
    server.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code !== "EADDRINUSE"));
    server.listen(path, () => resolve(true));
  });
}
