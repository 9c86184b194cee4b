import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { main, type TextStream } from "@slayer/cli";
import { onTestFinished } from "vitest";

/** A stream that keeps what was written. */
export class Capture extends Writable {
  text = "";
  readonly isTTY: boolean;
  readonly columns = 100;

  constructor(isTTY = false) {
    super({ decodeStrings: false });
    this.isTTY = isTTY;
  }

  override _write(chunk: string | Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface SlayerOptions {
  readonly signal?: AbortSignal;
  readonly terminal?: boolean;
  readonly env?: Record<string, string>;
}

/** Runs the command in this process. */
export async function slayer(argv: readonly string[], options: SlayerOptions = {}): Promise<Result> {
  const stdout = new Capture(options.terminal);
  const stderr = new Capture(options.terminal);
  const signal = options.signal ?? new AbortController().signal;
  const streams = { stdout: stdout as TextStream, stderr: stderr as TextStream };
  const code = await main(argv, { ...streams, signal, env: options.env ?? {} });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

/** An empty directory that goes when the test ends. */
export function scratch(): string {
  const dir = mkdtempSync(join(tmpdir(), "slayer-cli-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}
