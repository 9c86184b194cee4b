/** The slayer command, to be run inside another program. */
export { Interrupted } from "./errors.js";
export type { Io, TextStream } from "./io.js";
export { main } from "./main.js";
