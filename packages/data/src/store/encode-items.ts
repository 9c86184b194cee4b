import { DataError } from "../errors.js";
import { ChatTemplate, type ChatTemplateSource } from "../sft/chat-template.js";
import { encodeChat } from "../sft/encode-chat.js";
import type { Conversation } from "../sft/layouts.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";

/** What a thread needs to encode, as plain data. */
export interface EncoderSpec {
  /** Of the tokenizer, and what its hash must be. */
  readonly directory: string;
  readonly tokenizerHash: string;
  /** For conversations; texts need none. */
  readonly chat?: ChatTemplateSource;
}

export type Item = string | Conversation;

export interface EncodedItems {
  /** Tokens of all items, one after another; ~id where a token is context only. */
  readonly tokens: Int32Array;
  /** Of each item; 0 where it gives none. */
  readonly lengths: Int32Array;
  /** Why an item gives none, by its index. */
  readonly reasons: readonly (readonly [index: number, reason: string])[];
}

export class ItemEncoder {
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate | undefined;

  private constructor(tokenizer: Tokenizer, template: ChatTemplate | undefined) {
    this.#tokenizer = tokenizer;
    this.#template = template;
  }

  /** @throws DataError what loading throws; `bad-tokenizer` where the tokenizer is another than before */
  static async load({ directory, tokenizerHash, chat }: EncoderSpec): Promise<ItemEncoder> {
    const tokenizer = await Tokenizer.load(directory);
    if (tokenizer.hash !== tokenizerHash) {
      throw new DataError("bad-tokenizer", "tokenizer.json has changed while it was in use", { file: directory });
    }
    return new ItemEncoder(tokenizer, chat && new ChatTemplate(chat));
  }

  encode(items: readonly Item[]): EncodedItems {
    const reasons: [number, string][] = [];
    const encoded = items.map((item, i) => {
      const tokens =
        typeof item === "string"
          ? this.#tokenizer.encode(item, { addSpecialTokens: false })
          : encodeChat(item, this.#template!, this.#tokenizer);
      if (tokens instanceof Int32Array) return tokens;
      reasons.push([i, tokens.reason]);
      return new Int32Array(0);
    });
    const tokens = new Int32Array(encoded.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const each of encoded) {
      tokens.set(each, at);
      at += each.length;
    }
    return { tokens, lengths: Int32Array.from(encoded, ({ length }) => length), reasons };
  }
}
