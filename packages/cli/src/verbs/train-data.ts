import type { Preview, SourceSummary } from "@slayer/train";

/** What each source holds and how often it has been passed. */
export function describeData(sources: readonly SourceSummary[]): string[] {
  return sources.map(({ path, documents, tokens, weight, badRecords, heldOutDocuments, epochs }) => {
    const parts = [
      ...(documents === null || tokens === null
        ? ["streamed"]
        : [`${documents.toLocaleString("en")} documents`, `${tokens.toLocaleString("en")} tokens`]),
      ...(weight === null ? [] : [`weight ${weight}`]),
      ...(heldOutDocuments === 0 ? [] : [`${heldOutDocuments} documents held out`]),
      ...(badRecords === 0 ? [] : [`${badRecords} bad records left out`]),
      ...(epochs === 0 ? [] : [`${epochs.toFixed(2)} epochs`]),
    ];
    return `data         ${path}: ${parts.join(", ")}`;
  });
}

/** A document or conversation: runs of tokens that are scored and that are not, tokens parted by ¦. */
export function describeExample({ file, line, tokens }: Preview, name: string, sequenceLength: number): string[] {
  const scored = tokens.filter(({ isScored }) => isScored).length;
  const lines = [`${name}  (${file}:${line}): ${tokens.length} tokens, ${scored} scored`];
  for (let start = 0; start < tokens.length;) {
    const { isScored } = tokens[start]!;
    let end = start;
    while (end < tokens.length && tokens[end]!.isScored === isScored) end++;
    const texts = tokens.slice(start, end).map(({ text }) => JSON.stringify(text).slice(1, -1));
    lines.push(`  ${isScored ? "scored " : "context"}  ${texts.join("¦")}`);
    start = end;
  }
  if (tokens.length > sequenceLength) lines.push(`  longer than a sequence of ${sequenceLength} tokens`);
  return [...lines, ""];
}
