import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { DataError } from "../errors.js";
import { decodeUtf8, readSmallFile } from "../files.js";
import { Detokenizer } from "./detokenizer.js";
import { checkTokenizerJson, isObject, type TokenizerJson } from "./format.js";
import { FastEncoder } from "./fast/encoder.js";
import { Offsets } from "./fast/offsets.js";
import { buildLibraryTokenizer, type LibraryTokenizer } from "./library.js";
import { type Around, specialsAround } from "./post-processing.js";

/** Larger tokenizer.json files are refused; the largest in use have about 35 MB. */
const MAX_TOKENIZER_BYTES = 128 * 1024 * 1024;
const MAX_CONFIG_BYTES = 8 * 1024 * 1024;
/** Longer texts are refused: split them, or give them as several documents. In UTF-16 code units. */
const MAX_TEXT_LENGTH = 256 * 1024 * 1024;
const LONE_SURROGATES = /\p{Surrogate}/gu;
const NOTHING_AROUND: Around = { before: [], after: [] };

export interface EncodeOptions {
  /** Apply the tokenizer's own post-processing, for Llama a BOS before the text. Default true, as in Python. */
  addSpecialTokens?: boolean;
}

export interface DecodeOptions {
  /** Leave out special tokens. Default false: what is there is shown. (Python's `tokenizers` skips by default.) */
  skipSpecialTokens?: boolean;
}

/** Text of a growing sequence of ids, for printing while a model generates. */
export interface DecodeStream {
  /** The text that this id makes certain, often of one token, sometimes empty; never half a character. */
  push(id: number): string;
  /** The rest, at the end. */
  flush(): string;
}

/**
 * A BPE tokenizer in Hugging Face format: byte-level (GPT-2, Llama-3) or SentencePiece-like with byte fallback (Llama-2,
 * Mistral). Ids and texts are those of Python `tokenizers`; truncation and padding settings in the file are not applied.
 */
export class Tokenizer {
  /** SHA-256 of tokenizer.json, in hex. */
  readonly hash: string;
  /** 1 + the largest id: the number of rows the embedding must have at least. */
  readonly vocabSize: number;
  /** Ids of the tokens that tokenizer_config.json (or special_tokens_map.json) calls bos_token and eos_token. */
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  readonly #json: TokenizerJson;
  readonly #fast: FastEncoder | undefined;
  readonly #around: Around | undefined;
  /** Built when it is first needed: it takes seconds for a large vocabulary. */
  #library: LibraryTokenizer | undefined;
  readonly #file: string;
  /** What each id decodes from, and the id of each token as the file spells it. */
  readonly #tokens: (string | undefined)[] = [];
  readonly #ids = new Map<string, number>();
  readonly #specialIds = new Set<number>();

  private constructor(bytes: Uint8Array, config: Record<string, unknown>, file: string) {
    this.hash = bytesToHex(sha256(bytes));
    this.#file = file;
    this.#json = checkTokenizerJson(parseJson(bytes, file), file);
    this.#fast = FastEncoder.of(this.#json);
    for (const [token, id] of Object.entries(this.#json.model.vocab)) {
      this.#tokens[id] = token;
      this.#ids.set(token, id);
    }
    for (const { content, id, special, normalized } of this.#json.added_tokens) {
      // An added token that is sought in normalized text is also decoded from its normalized form.
      const isNormalized = (normalized ?? !special) && this.#json.normalizer !== null;
      this.#tokens[id] = isNormalized ? this.#slow().normalizer!(content) : content;
      this.#ids.set(content, id);
      if (special) this.#specialIds.add(id);
    }
    this.#around = specialsAround(this.#json, (token) => this.#ids.get(token));
    if (this.#fast === undefined || this.#around === undefined) this.#slow();
    this.vocabSize = this.#tokens.length;
    this.bosId = this.#idOfNamed(config.bos_token);
    this.eosId = this.#idOfNamed(config.eos_token);
    void new Detokenizer(this.#json.decoder, file); // a decoder we cannot run is refused now, not at the first decode
  }

  /**
   * Reads `tokenizer.json` of a model directory, and `tokenizer_config.json` (or `special_tokens_map.json`) for the names
   * of BOS and EOS where there is one.
   * @throws DataError `missing-file`, `too-large`, `bad-json`, `bad-utf8`, `bad-tokenizer`, `unsupported`
   */
  static async load(directory: string): Promise<Tokenizer> {
    const file = `${directory}/tokenizer.json`;
    const bytes = await readSmallFile(file, MAX_TOKENIZER_BYTES);
    if (bytes === undefined) {
      throw new DataError(
        "missing-file",
        "no such file; a SentencePiece tokenizer.model must first be converted, by saving it with transformers' AutoTokenizer",
        { file },
      );
    }
    const names = await Promise.all(
      ["special_tokens_map.json", "tokenizer_config.json"].map(async (name) => {
        const path = `${directory}/${name}`;
        const content = await readSmallFile(path, MAX_CONFIG_BYTES);
        const value = content === undefined ? {} : parseJson(content, path);
        if (!isObject(value)) throw new DataError("bad-json", "expected an object", { file: path });
        return value;
      }),
    );
    return new Tokenizer(bytes, Object.assign({}, ...names) as Record<string, unknown>, file);
  }

  /** From the text of a tokenizer.json and a parsed tokenizer_config.json. Errors name `file`. */
  static parse(tokenizerJson: string, config: Record<string, unknown> = {}, file = "tokenizer.json"): Tokenizer {
    return new Tokenizer(new TextEncoder().encode(tokenizerJson), config, file);
  }

  /** Ids of a text. Lone surrogates, which no UTF-8 text has, count as U+FFFD. */
  encode(text: string, options: EncodeOptions = {}): Int32Array {
    if (text.length > MAX_TEXT_LENGTH) {
      throw new DataError("too-large", `one text of ${text.length} characters, expected at most ${MAX_TEXT_LENGTH}`);
    }
    const whole = text.replaceAll(LONE_SURROGATES, "\uFFFD");
    const { addSpecialTokens = true } = options;
    const around = addSpecialTokens ? this.#around : NOTHING_AROUND;
    const fast = around && this.#fast?.encode(whole);
    if (fast === undefined) return this.#encodeSlowly(whole, addSpecialTokens);
    const { before, after } = around!;
    if (before.length + after.length === 0) return fast;
    const ids = new Int32Array(before.length + fast.length + after.length);
    ids.set(before);
    ids.set(fast, before.length);
    ids.set(after, before.length + fast.length);
    return ids;
  }

  /**
   * Ids of a text, without special tokens added, and where in it each begins and ends, in UTF-16 code units: a token with a part of
   * a character has all of it, and a ▁ that stands for no space stands where the text begins. `text` without lone surrogates.
   * @throws DataError `unsupported` for a kind of tokenizer that only the library encodes
   */
  encodeWithOffsets(text: string): { ids: Int32Array; starts: Int32Array; ends: Int32Array } {
    const offsets = new Offsets();
    const ids = this.#fast?.encode(text, offsets);
    if (ids === undefined) {
      throw new DataError("unsupported", "where tokens stand in the text is not known for this kind of tokenizer", {
        file: this.#file,
      });
    }
    const [starts, ends] = [offsets.starts, offsets.ends].map(({ array, size }) => array.slice(0, size));
    return { ids, starts: starts!, ends: ends! };
  }

  #encodeSlowly(text: string, addSpecialTokens: boolean): Int32Array {
    const { ids } = this.#slow().encode(text, { add_special_tokens: addSpecialTokens });
    const bad = ids.findIndex((id) => !Number.isInteger(id));
    if (bad >= 0) {
      throw new DataError("bad-tokenizer", "a token of this text has no id: unk_token or a template names none", {
        file: this.#file,
      });
    }
    return Int32Array.from(ids);
  }

  #slow(): LibraryTokenizer {
    try {
      return (this.#library ??= buildLibraryTokenizer(this.#json));
    } catch (error) {
      throw new DataError("bad-tokenizer", `the tokenizer cannot be built: ${String(error)}`, { file: this.#file });
    }
  }

  /** Text of ids. Ids without a token (a padded vocabulary) give nothing, as in Python. */
  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    const stream = this.decodeStream(options);
    let text = "";
    for (const id of ids) text += stream.push(id);
    return text + stream.flush();
  }

  decodeStream(options: DecodeOptions = {}): DecodeStream {
    const detokenizer = new Detokenizer(this.#json.decoder, this.#file);
    const skip = options.skipSpecialTokens ?? false;
    return {
      push: (id) => {
        if (!Number.isInteger(id) || id < 0) {
          throw new DataError("bad-ids", `expected token ids 0 … ${this.vocabSize - 1}, found ${id}`);
        }
        const token = this.#tokens[id];
        return token === undefined || (skip && this.#specialIds.has(id)) ? "" : detokenizer.push(token);
      },
      flush: () => detokenizer.flush(),
    };
  }

  /** Id of a token as the file spells it ("▁the", "<s>"). */
  idOf(token: string): number | undefined {
    return this.#ids.get(token);
  }

  /** A special token is named by its text, or by an object with `content`. */
  #idOfNamed(token: unknown): number | undefined {
    const content = isObject(token) ? token.content : token;
    return typeof content === "string" ? this.idOf(content) : undefined;
  }
}

function parseJson(bytes: Uint8Array, file: string): unknown {
  const text = decodeUtf8(bytes, { file });
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DataError("bad-json", `expected JSON: ${(error as Error).message}`, { file });
  }
}
