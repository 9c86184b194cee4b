import { RecordReader } from "../sources/records.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { Item } from "./encode-items.js";
import { threadEncoder } from "./encoder-pool.js";
import { parserOf, type SourceSpec } from "./source-spec.js";

/** The first documents or conversations of a source as they are trained on, token by token. */
export interface Preview {
  readonly file: string;
  readonly line: number;
  readonly tokens: readonly { readonly id: number; readonly text: string; readonly isScored: boolean }[];
}

/**
 * At most `count` documents or conversations from the beginning of a source; those that cannot be read are passed over.
 * @throws DataError what reading and encoding throw
 */
export async function previewSource(
  spec: SourceSpec,
  { tokenizer, directory }: { readonly tokenizer: Tokenizer; readonly directory: string },
  count: number,
): Promise<Preview[]> {
  const chat = spec.read.kind === "chat" ? { chat: spec.read.template } : {};
  const encoder = threadEncoder({ directory, tokenizerHash: tokenizer.hash, ...chat }, 1);
  const found: Preview[] = [];
  try {
    if (count === 0) return found;
    for await (const { value, file, line } of new RecordReader<Item>(spec.files, parserOf(spec), {
      format: spec.format ?? "auto",
    })) {
      const { tokens } = await encoder.encode([value]);
      if (tokens.length === 0) continue;
      const stream = tokenizer.decodeStream();
      const described = Array.from(tokens, (token, i) => {
        const id = token < 0 ? ~token : token;
        // The first token is never predicted.
        return { id, text: stream.push(id), isScored: token >= 0 && i > 0 };
      });
      if (found.push({ file, line, tokens: described }) === count) break;
    }
  } finally {
    await encoder.close();
  }
  return found;
}
