import { parseSync } from "oxc-parser";

export interface Example {
  /** Line of the document on which the code begins, from 1. */
  readonly line: number;
  readonly code: string;
}

/** The fenced `ts` blocks of a Markdown document. */
export function examplesOf(markdown: string): Example[] {
  return [...markdown.matchAll(/^```ts\n([^]*?)^```$/gm)].map((match) => ({
    line: markdown.slice(0, match.index).split("\n").length + 1,
    code: match[1]!,
  }));
}

export interface ExpectedOutput {
  readonly lines: readonly string[];
  /** Whether every `console.log` of the top level says what it prints, so that there can be no other line. */
  readonly complete: boolean;
}

/**
 * What an example says it prints: the comments that begin on the line where a `console.log(…)` statement of its top
 * level ends, or that follow it on lines of their own and begin with an arrow. The arrow is not part of the value.
 */
export function expectedOutput(code: string): ExpectedOutput {
  const { program, comments } = parseSync("example.ts", code);
  const lineOf = (offset: number) => code.slice(0, offset).split("\n").length;
  const lines: string[] = [];
  let complete = true;
  for (const statement of program.body) {
    if (!code.slice(statement.start, statement.end).startsWith("console.log(")) continue;
    const before = lines.length;
    let line = lineOf(statement.end);
    for (const { start, end, value } of comments.filter((comment) => comment.start >= statement.end)) {
      const sameLine = lineOf(start) === lineOf(statement.end);
      const nextLine = /^\s*→/.test(value) && lineOf(start) === line + 1;
      if (!sameLine && !nextLine) break;
      lines.push(value.replace(/^\s*(?:→ ?)?/, "").trimEnd());
      line = lineOf(end);
    }
    if (lines.length === before) complete = false;
  }
  return { lines, complete };
}
