import { DataError } from "../errors.js";
import { isObject } from "../tokenizer/format.js";
import type { SourcePosition } from "./mixture.js";
import { checkSettings, type PackingSettings } from "./settings.js";

/** Where to go on, as plain JSON. */
export interface Position {
  readonly version: 2;
  readonly packing: PackingSettings;
  readonly sources: readonly SourcePosition[];
}

/** @throws DataError `bad-position` */
export function checkPosition(value: unknown): Position {
  const isCount = (count: unknown): boolean => Number.isSafeInteger(count) && (count as number) >= 0;
  const isSource = (source: unknown): boolean =>
    isObject(source) &&
    typeof source.corpus === "string" &&
    typeof source.weight === "number" &&
    isCount(source.sequences) &&
    isCount(source.tokens);
  const isRight =
    isObject(value) &&
    value.version === 2 &&
    isObject(value.packing) &&
    isObject(value.packing.boundary) &&
    isObject(value.packing.shuffle) &&
    Array.isArray(value.sources) &&
    value.sources.every(isSource);
  if (!isRight) throw new DataError("bad-position", "expected a position of version 2, as Batches.position() gives it");
  return value as unknown as Position;
}

/** @throws DataError `position-mismatch` where two positions are not of the same sources and settings */
export function expectSame(wanted: Position, found: Position): void {
  const corpora = ({ sources }: Position): unknown => sources.map(({ corpus, weight }) => ({ corpus, weight }));
  expect(
    "the corpora and their weights",
    corpora(wanted),
    corpora(found),
    "; restore the files and the tokenizer, or start anew",
  );
  const settings = found.packing as unknown as Record<string, unknown>;
  for (const [name, value] of Object.entries(checkSettings(wanted.packing))) expect(name, value, settings[name], "");
}

function expect(name: string, wanted: unknown, found: unknown, mend: string): void {
  if (JSON.stringify(wanted) === JSON.stringify(found)) return;
  throw new DataError(
    "position-mismatch",
    `${name} changed since the position was taken: expected ${JSON.stringify(wanted)}, found ${JSON.stringify(found)}${mend}`,
  );
}
