// Runs on a thread of its own: SHA-256 of many tensors at a time, from memory that is shared with the main thread.
// Plain JavaScript, so that the same file runs beside the sources and beside the build.
import { createHash } from "node:crypto";
import { parentPort } from "node:worker_threads";

/** @type {Map<string, import("node:crypto").Hash>} */
const running = new Map();

// A message with a piece adds it to its tensor, one without ends the tensor. Every message is answered, in order.
parentPort?.on("message", (/** @type {{ tensor: string, piece?: Uint8Array }} */ { tensor, piece }) => {
  const hash = running.get(tensor) ?? createHash("sha256");
  if (piece === undefined) {
    running.delete(tensor);
    parentPort?.postMessage(hash.digest("hex"), []);
  } else {
    running.set(tensor, hash.update(piece));
    parentPort?.postMessage("", []);
  }
});
