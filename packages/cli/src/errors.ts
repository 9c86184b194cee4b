import { getSystemErrorName } from "node:util";
import { CheckpointError } from "@slayer/checkpoint";
import { DataError } from "@slayer/data";
import { EvalError } from "@slayer/eval";
import { ImportanceError } from "@slayer/importance";
import { PlanError } from "@slayer/surgery";
import { BackendError } from "@slayer/tensor";
import { InterruptedError, RecipeError, TrainingError } from "@slayer/train";
import { CommanderError } from "commander";

/** A wrong option or file: the message says what was expected, what came, and what to do. */
export class UserError extends Error {
  override readonly name = "UserError";
}

/** An option or a verb that is known by name and does not exist yet. */
export class NotBuiltError extends Error {
  override readonly name = "NotBuiltError";

  constructor(what: string, instead?: string) {
    super(`${what} is not built yet${instead === undefined ? "" : `; ${instead}`}`);
  }
}

/** Why the signal was aborted. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  readonly exitCode: number;

  constructor(signal: "SIGINT" | "SIGTERM") {
    super(`interrupted by ${signal}`);
    this.exitCode = signal === "SIGINT" ? 130 : 143;
  }
}

/** Errors that the user can mend. */
const userErrors = [
  UserError,
  NotBuiltError,
  CheckpointError,
  DataError,
  EvalError,
  ImportanceError,
  PlanError,
  RecipeError,
];

/** What the file system says about paths that the user gave. */
const systemErrors: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file or directory",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EISDIR: "expected a file, it is a directory",
  ENOTDIR: "expected a directory, a part of the path is a file",
  EEXIST: "it exists already",
  EROFS: "the file system is read-only",
  ENOSPC: "no space is left on the device",
  EDQUOT: "the disk quota is used up",
  ENAMETOOLONG: "the name is too long",
  ELOOP: "too many symbolic links",
};

export interface Failure {
  readonly exitCode: number;
  /** For stderr; empty when it was said already. */
  readonly message: string;
}

/** Exit code and message of an error: 2 the user's mistake, 130 or 143 interrupted, 1 anything else. */
export function failureOf(
  error: unknown,
  signal: AbortSignal,
  env: Readonly<Record<string, string | undefined>>,
): Failure {
  if (error instanceof CommanderError) return { exitCode: error.exitCode === 0 ? 0 : 2, message: "" };
  const interrupted = signal.aborted && (error === signal.reason || error instanceof InterruptedError);
  if (interrupted) {
    const exitCode = signal.reason instanceof Interrupted ? signal.reason.exitCode : 130;
    const saved = error instanceof InterruptedError ? `: ${error.message}` : "";
    return { exitCode, message: `interrupted${saved}` };
  }
  if (!(error instanceof Error)) return { exitCode: 1, message: `error: ${String(error)}` };
  if (userErrors.some((type) => error instanceof type)) return { exitCode: 2, message: `error: ${error.message}` };
  const system = systemMessage(error);
  if (system !== undefined) return { exitCode: 2, message: `error: ${system}` };
  if (env.SLAYER_DEBUG) return { exitCode: 1, message: error.stack ?? error.message };
  if (error instanceof BackendError || error instanceof TrainingError)
    return { exitCode: 1, message: `error: ${error.message}` };
  const hint = "this is a fault of the program; set SLAYER_DEBUG=1 to see where it happened";
  return { exitCode: 1, message: `internal error: ${error.message}\n${hint}` };
}

function systemMessage(error: Error): string | undefined {
  const { errno, path } = error as NodeJS.ErrnoException;
  if (typeof errno !== "number" || path === undefined) return undefined;
  const problem = systemErrors[getSystemErrorName(errno)];
  return problem === undefined ? undefined : `${path}: ${problem}`;
}
