import { readFileSync } from "node:fs";
import { Command, type CommanderError } from "commander";
import { failureOf } from "./errors.js";
import type { Io } from "./io.js";
import { Context } from "./run.js";
import { addDoctor } from "./verbs/doctor.js";
import { addEval } from "./verbs/eval.js";
import { addExpand } from "./verbs/expand.js";
import { addGenerate } from "./verbs/generate.js";
import { addImportance } from "./verbs/importance.js";
import { addInspect } from "./verbs/inspect.js";
import { addPack } from "./verbs/pack.js";
import { addPerplexity } from "./verbs/perplexity.js";
import { addPlan } from "./verbs/plan.js";
import { addQuickstart } from "./verbs/quickstart.js";
import { addReport } from "./verbs/report.js";
import { addTrain } from "./verbs/train.js";
import { addUnpack } from "./verbs/unpack.js";
import { addVerify } from "./verbs/verify.js";

/** Adds one verb to the program. */
type AddVerb = (program: Command, context: Context) => void;

/** In the order of the work; the help lists them so. */
const verbs: readonly AddVerb[] = [
  addDoctor,
  addInspect,
  addImportance,
  addPlan,
  addExpand,
  addVerify,
  addPack,
  addUnpack,
  addTrain,
  addEval,
  addPerplexity,
  addGenerate,
  addReport,
  addQuickstart,
];

/**
 * Runs the command once.
 * @param argv without node and script
 * @returns the exit code: 0 done, 2 the user's mistake, 130 or 143 interrupted, 1 anything else
 */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  const context = new Context(io);
  try {
    await createProgram(context).parseAsync(argv, { from: "user" });
    return context.exitCode;
  } catch (error) {
    const { exitCode, message } = failureOf(error, io.signal, io.env);
    if (message !== "") io.stderr.write(`slayer: ${message}\n`);
    return exitCode;
  }
}

/** package.json lies beside the sources and beside the built files. */
function version(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** The command line as commander has it; exits by throwing a CommanderError. */
function createProgram(context: Context): Command {
  const { io } = context;
  const program = new Command("slayer")
    .version(version(), "--version", "print the version")
    .description("Teach a pre-trained language model new knowledge without making it forget.")
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      getOutHelpWidth: () => io.stdout.columns ?? 100,
      getErrHelpWidth: () => io.stderr.columns ?? 100,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .helpCommand("help [verb]", "show how a verb is used")
    .exitOverride((error: CommanderError) => {
      throw error;
    });
  for (const add of verbs) add(program, context);
  for (const verb of program.commands) verb.showHelpAfterError(`(slayer ${verb.name()} --help shows how it is used)`);
  return program;
}
