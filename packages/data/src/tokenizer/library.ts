import * as module from "@huggingface/tokenizers";
import type { Component, TokenizerJson } from "./format.js";
import { GPT2_SPLIT } from "./split-patterns.js";
import { wordsAreIndependent } from "./words-are-independent.js";

/**
 * What we use of the library. Its own declarations import each other without file extensions, so under `nodenext`
 * resolution TypeScript finds nothing in them.
 */
export interface LibraryTokenizer {
  readonly pre_tokenizer: PreTokenizer | null;
  readonly model: BpeModel;
  readonly normalizer: ((text: string) => string) | null;
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
}
interface PreTokenizer {
  pattern?: RegExp;
  readonly tokenizers?: readonly (PreTokenizer | null)[];
  readonly config?: { readonly individual_digits?: boolean };
}
interface BpeModel {
  readonly tokens_to_ids: ReadonlyMap<string, number>;
  readonly unk_token?: string | null;
  readonly byte_fallback: boolean;
  readonly ignore_merges: boolean;
  bpe(word: string): string[];
  encode(words: string[]): string[];
}
type Class<T> = new (...settings: never[]) => T;
const library = module as unknown as {
  Tokenizer: new (tokenizer: object, config: object) => LibraryTokenizer;
  ByteLevelPreTokenizer: Class<PreTokenizer>;
  DigitsPreTokenizer: Class<PreTokenizer>;
};

/**
 * @huggingface/tokenizers 0.2.0 gives other ids than Python `tokenizers` in a few cases, and is slow where a whole text is
 * one word (Llama-2). This builds it with the differences mended; the conformance tests hold the result to Python's ids.
 *
 * 1. Metaspace with `split` is not split. A Split after it does so.
 * 2. GPT-2's regex and Digits use JavaScript's \s and \d; Python's are Unicode White_Space (U+0085 but not U+FEFF) and N.
 * 3. One word of more than about 100,000 tokens overflows the call stack (`push(...tokens)`).
 * 4. A Llama-2 text is one word. Where no merge crosses into a ▁, cutting before each run of ▁ leaves the ids as they are,
 *    and lets the library's cache of words work: several times faster, and linear on text with spaces.
 */
export function buildLibraryTokenizer(json: TokenizerJson): LibraryTokenizer {
  const tokenizer = new library.Tokenizer({ ...json, pre_tokenizer: correctedPreTokenizer(json) }, {});
  useUnicodeClasses(tokenizer.pre_tokenizer);
  avoidSpreading(tokenizer.model);
  return tokenizer;
}

function useUnicodeClasses(preTokenizer: PreTokenizer | null): void {
  preTokenizer?.tokenizers?.forEach(useUnicodeClasses);
  if (preTokenizer instanceof library.ByteLevelPreTokenizer) preTokenizer.pattern = GPT2_SPLIT;
  if (preTokenizer instanceof library.DigitsPreTokenizer) {
    preTokenizer.pattern = preTokenizer.config?.individual_digits === true ? /\P{N}+|\p{N}/gu : /\P{N}+|\p{N}+/gu;
  }
}

function correctedPreTokenizer(json: TokenizerJson): Component | null {
  const corrected = json.pre_tokenizer === null ? null : correctMetaspace(json.pre_tokenizer);
  if (!wordsAreIndependent(json)) return corrected;
  const words = pieces("▁+[^▁]*|[^▁]+");
  return corrected === null ? words : sequence([corrected, words]);
}

function correctMetaspace(component: Component): Component {
  if (component.type === "Sequence") {
    return sequence((component.pretokenizers as Component[]).map(correctMetaspace));
  }
  if (component.type !== "Metaspace") return component;
  const replacement = typeof component.replacement === "string" ? component.replacement : "▁";
  const scheme = component.prepend_scheme ?? (component.add_prefix_space === false ? "never" : "always");
  const metaspace: Component = { ...component, replacement, str_rep: replacement, prepend_scheme: scheme };
  if (component.split === false) return metaspace;
  const char = `\\x{${replacement.codePointAt(0)!.toString(16)}}`;
  return sequence([metaspace, pieces(`${char}[^${char}]*|[^${char}]+`)]);
}

/** In the library `invert` means: the pieces are the matches. */
function pieces(regex: string): Component {
  return { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: true };
}

function sequence(pretokenizers: Component[]): Component {
  return { type: "Sequence", pretokenizers };
}

/** The library's BPE.encode for our models, with a loop where it spreads a list into arguments. */
function avoidSpreading(model: BpeModel): void {
  const encodeWord = (word: string, out: string[]): void => {
    if (model.ignore_merges && model.tokens_to_ids.has(word)) {
      out.push(word);
      return;
    }
    for (const token of model.bpe(word)) {
      const tokens = model.tokens_to_ids.has(token) ? [token] : model.byte_fallback ? byteTokens(token) : [];
      if (tokens.length > 0 && tokens.every((each) => model.tokens_to_ids.has(each))) out.push(...tokens);
      else if (model.unk_token !== undefined && model.unk_token !== null) out.push(model.unk_token);
    }
  };
  model.encode = (words) => {
    const out: string[] = [];
    for (const word of words) encodeWord(word, out);
    return out;
  };
}

const utf8 = new TextEncoder();

function byteTokens(char: string): string[] {
  return Array.from(utf8.encode(char), (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
}
