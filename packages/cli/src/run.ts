import type { Backend } from "@slayer/tensor";
import { openBackend } from "./backends.js";
import { jsonText } from "./files.js";
import type { Io } from "./io.js";
import { type Progress, type ProgressOptions, silent, startProgress } from "./progress.js";

/** Options that every verb has. */
export interface CommonOptions {
  readonly backend: string;
  readonly device: number;
  readonly seed: number;
  readonly json?: true;
  readonly quiet?: true;
}

/** What a verb's body works with. Text for people goes to stdout unless --json is given; everything else to stderr. */
export class Run {
  readonly signal: AbortSignal;
  readonly seed: number;
  readonly json: boolean;
  /** What the command ends with when nothing is thrown; a check that found something wrong sets 2. */
  exitCode = 0;
  readonly #io: Io;
  readonly #options: CommonOptions;
  readonly #open: Backend[] = [];
  #progress: Progress | undefined;

  constructor(io: Io, options: CommonOptions) {
    this.#io = io;
    this.#options = options;
    this.signal = io.signal;
    this.seed = options.seed;
    this.json = options.json ?? false;
  }

  /** The result, for people: whole lines on stdout. Nothing with --json. */
  print(text: string): void {
    this.write(`${text}\n`);
  }

  /** As `print`, without ending the line. */
  write(text: string): void {
    if (!this.json) this.#io.stdout.write(text);
  }

  /** What happens meanwhile: a line on stderr. Nothing with --quiet. */
  log(text: string): void {
    if (!this.#options.quiet) this.#line(text);
  }

  /** Something the user should know although the command goes on; also with --quiet. */
  warn(text: string): void {
    this.#line(`warning: ${text}`);
  }

  /** In the place of the bar, which is drawn again below it. */
  #line(text: string): void {
    const bar = this.#progress !== undefined && this.#progress !== silent && this.#io.stderr.isTTY;
    this.#io.stderr.write(`${bar ? "\r\u001B[K" : ""}${text}\n`);
  }

  /** Shows how far `body` is while it runs. */
  async progress<T>(options: ProgressOptions, body: (progress: Progress) => Promise<T>): Promise<T> {
    const progress = this.#options.quiet ? silent : startProgress(this.#io.stderr, options);
    this.#progress = progress;
    try {
      return await body(progress);
    } finally {
      progress.stop();
      this.#progress = undefined;
    }
  }

  /** The backend that the options ask for; closed at the end of the run. */
  async backend(): Promise<Backend> {
    const { backend: name, device } = this.#options;
    const backend = await openBackend(name, device, (text) => this.log(text));
    this.#open.push(backend);
    return backend;
  }

  async close(): Promise<void> {
    for (const backend of this.#open) await backend.close();
  }
}

/** Runs verbs for one invocation of the command. */
export class Context {
  readonly io: Io;
  exitCode = 0;

  constructor(io: Io) {
    this.io = io;
  }

  /** Runs a verb's body; what it returns is its JSON document. */
  async run(options: CommonOptions, body: (run: Run) => Promise<unknown>): Promise<void> {
    const run = new Run(this.io, options);
    try {
      const document = await body(run);
      if (run.json) this.io.stdout.write(jsonText(document));
      this.exitCode = run.exitCode;
    } finally {
      await run.close();
    }
  }
}
