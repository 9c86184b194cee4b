import { byteToChar } from "../bytes.js";
import type { TokenizerJson } from "../format.js";
import { AddedTokens, type Piece } from "./added.js";
import { Ids } from "./ids.js";
import { mergeWord } from "./merge.js";
import { fastModel, type FastModel } from "./model.js";
import { fastSplitting, type Splitting } from "./splitting.js";
import { type Offsets, TokenOffsets } from "./offsets.js";

/** Words kept with their ids; then all are forgotten. Short words only: a word of a text without spaces can be a text. */
const CACHED_WORDS = 1 << 17;
const CACHED_LENGTH = 64;
const utf8 = new TextEncoder();

/**
 * Encodes with byte-level BPE (GPT-2, Llama-3, Qwen) or with SentencePiece-like BPE over ▁ and byte fallback (Llama-2, Mistral):
 * words found by hand-written scanners, each different word merged once and remembered. Ids are those of Python `tokenizers`.
 */
export class FastEncoder {
  readonly #model: FastModel;
  readonly #splitting: Splitting;
  readonly #added: AddedTokens;
  readonly #addedNormalized: AddedTokens;
  /** Word to where its ids are in the pool: start · 64 + count. */
  readonly #words = new Map<string, number>();
  readonly #pool = new Ids();
  readonly #symbols = new Ids();
  readonly #offsets: TokenOffsets;

  private constructor(model: FastModel, splitting: Splitting, json: TokenizerJson) {
    this.#model = model;
    this.#splitting = splitting;
    // With a normalizer, added tokens with `normalized` are sought in normalized text, which has ▁ for every space.
    const isLate = ({ normalized, special }: TokenizerJson["added_tokens"][number]): boolean =>
      json.normalizer !== null && (normalized ?? special !== true);
    this.#added = new AddedTokens(json.added_tokens.filter((token) => !isLate(token)));
    const { form, metaspace, prefix, prefixRule } = splitting;
    const normalize = (content: string): string => {
      if (form !== undefined) return content.normalize(form);
      return (prefixRule === "always" ? prefix : "") + (metaspace ? content.replaceAll(" ", "▁") : content);
    };
    this.#addedNormalized = new AddedTokens(
      json.added_tokens.filter(isLate).map((token) => ({ ...token, content: normalize(token.content) })),
    );
    this.#offsets = new TokenOffsets(json, model);
  }

  /** Undefined where this kind of tokenizer is left to the library. */
  static of(json: TokenizerJson): FastEncoder | undefined {
    const splitting = fastSplitting(json);
    const model = fastModel(json);
    return splitting && model && new FastEncoder(model, splitting, json);
  }

  /**
   * Ids of a text without lone surrogates; undefined where it must be normalized first, which is left to the library.
   * @param offsets receives for every id where its text begins and ends
   */
  encode(text: string, offsets?: Offsets): Int32Array | undefined {
    const { form } = this.#splitting;
    if (form !== undefined && text.normalize(form) !== text) return undefined;
    const out = new Ids();
    this.#added.split(text, 0, text.length).forEach((piece, index) => {
      if (piece.id === undefined) this.#encodePiece(text, piece, index === 0, out, offsets);
      else {
        out.push(piece.id);
        offsets?.push(piece.start, piece.end);
      }
    });
    return out.array.slice(0, out.size);
  }

  #encodePiece(text: string, { start, end }: Piece, isFirst: boolean, out: Ids, offsets?: Offsets): void {
    const { metaspace, prefix, prefixRule } = this.#splitting;
    const piece = start === 0 && end === text.length ? text : text.slice(start, end);
    const spaced = metaspace ? piece.replaceAll(" ", "▁") : piece;
    const words = prefixRule === "always" ? prefix + spaced : spaced;
    const shift = words.length - spaced.length;
    for (const part of this.#addedNormalized.split(words, 0, words.length)) {
      // Every character of `words` stands for one of the text, but for the prefix.
      const origin = start + part.start - shift;
      if (part.id !== undefined) {
        out.push(part.id);
        offsets?.push(Math.max(start, origin), start + part.end - shift);
        continue;
      }
      const section = words.slice(part.start, part.end);
      const mayWant = prefixRule === "unless-there" || (prefixRule === "first-unless-there" && isFirst);
      const added = mayWant && !section.startsWith(prefix) ? prefix : "";
      const first = out.size;
      this.#encodeWords(added + section, out);
      if (offsets !== undefined) {
        this.#offsets.find(added + section, out.array.subarray(first, out.size), start, origin - added.length, offsets);
      }
    }
  }

  #encodeWords(text: string, out: Ids): void {
    const { wordEnd } = this.#splitting;
    for (let start = 0; start < text.length;) {
      const end = wordEnd(text, start);
      this.#encodeWord(text.slice(start, end), out);
      start = end;
    }
  }

  #encodeWord(word: string, out: Ids): void {
    const place = this.#words.get(word);
    if (place === undefined) {
      const count = this.#tokensOf(word);
      out.append(this.#symbols.array, 0, count);
      if (word.length <= CACHED_LENGTH && count < 64) this.#remember(word, count);
    } else out.append(this.#pool.array, place >>> 6, place & 63);
  }

  #remember(word: string, count: number): void {
    // A place has 26 bits for its start: 2^17 words of at most 63 ids are fewer.
    if (this.#words.size >= CACHED_WORDS) {
      this.#words.clear();
      this.#pool.size = 0;
    }
    this.#words.set(word, this.#pool.size * 64 + count);
    this.#pool.append(this.#symbols.array, 0, count);
  }

  /** Leaves the tokens of a word at the beginning of the array of symbols; their number. */
  #tokensOf(word: string): number {
    const { wholeWords, charIds, byteIds, pairs } = this.#model;
    const symbols = this.#symbols;
    symbols.size = 0;
    const bytes = charIds === undefined ? utf8.encode(word) : undefined;
    if (wholeWords !== undefined) {
      const whole = wholeWords.get(bytes === undefined ? word : Array.from(bytes, (byte) => byteToChar[byte]).join(""));
      if (whole !== undefined) {
        symbols.push(whole);
        return 1;
      }
    }
    if (bytes !== undefined) for (const byte of bytes) symbols.push(byteIds[byte]!);
    else {
      for (const char of word) {
        const id = charIds!.get(char);
        if (id !== undefined) symbols.push(id);
        else for (const byte of utf8.encode(char)) symbols.push(byteIds[byte]!);
      }
    }
    return mergeWord(symbols.array, symbols.size, pairs);
  }
}
