import { CST, Lexer, parse } from "yaml";

/** Flow collections in one another, and columns at which a block collection may begin: far more than a person writes. */
const limits = { flowDepth: 16, column: 120 } as const;

/**
 * YAML text that may come from anywhere as plain data: the core schema, no custom types, aliases bounded against
 * expansion bombs. Throws an `Error` for text that is not YAML or nested too deeply.
 */
export function parseYaml(text: string): unknown {
  checkNesting(text);
  return parse(text, { schema: "core", maxAliasCount: 100, logLevel: "error" });
}

/**
 * Nesting is counted before anything is parsed: the parser calls itself for every level, and a stack that runs out
 * inside a regular expression ends the whole process. A block collection begins at least one column right of the one
 * that holds it, so columns bound their depth.
 */
function checkNesting(text: string): void {
  let depth = 0;
  let column = 0;
  for (const token of new Lexer().lex(text)) {
    const type = CST.tokenType(token);
    if (type === "flow-seq-start" || type === "flow-map-start") depth += 1;
    else if (type === "flow-seq-end" || type === "flow-map-end") depth -= 1;
    const begins = type === "seq-item-ind" || type === "explicit-key-ind" || type === "map-value-ind";
    if (depth > limits.flowDepth || (begins && depth <= 0 && column > limits.column)) {
      throw new Error(
        `nested too deeply: want at most ${limits.flowDepth} brackets in one another, and lists and keys that begin ` +
          `within ${limits.column} columns`,
      );
    }
    const newline = token.lastIndexOf("\n");
    column = newline === -1 ? column + token.length : token.length - newline - 1;
  }
}
