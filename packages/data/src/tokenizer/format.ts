import { DataError } from "../errors.js";

/** One entry of a tokenizer.json's pre_tokenizer, normalizer, post_processor or decoder: a type and its settings. */
export interface Component {
  readonly type: string;
  readonly [setting: string]: unknown;
}

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special?: boolean;
  readonly normalized?: boolean;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
}

/** The parts of a tokenizer.json that this package uses; the rest is kept and ignored. */
export interface TokenizerJson {
  readonly normalizer: Component | null;
  readonly pre_tokenizer: Component | null;
  readonly post_processor: Component | null;
  readonly decoder: Component | null;
  readonly added_tokens: readonly AddedToken[];
  readonly model: Component & {
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (string | readonly [string, string])[];
  };
}

/** Ids above this are refused: the largest vocabularies in use have some 260,000 tokens. */
const MAX_TOKENS = 1 << 22;

/** What the library, with our corrections, is known to compute as Python `tokenizers` does. */
const SUPPORTED = {
  normalizer: ["Sequence", "Prepend", "Replace", "NFC", "NFD", "NFKC", "NFKD"],
  pre_tokenizer: ["Sequence", "ByteLevel", "Split", "Metaspace", "Digits"],
  post_processor: ["Sequence", "ByteLevel", "TemplateProcessing"],
  decoder: ["Sequence", "ByteLevel", "Metaspace", "Replace", "ByteFallback", "Fuse", "Strip"],
} as const;
const CHILDREN = {
  normalizer: "normalizers",
  pre_tokenizer: "pretokenizers",
  post_processor: "processors",
  decoder: "decoders",
} as const;
type Part = keyof typeof SUPPORTED;

/** The leaves of a component, its Sequences opened. */
export function leaves(component: Component | null, part: Part): Component[] {
  if (component === null) return [];
  if (component.type !== "Sequence") return [component];
  return (component[CHILDREN[part]] as Component[]).flatMap((child) => leaves(child, part));
}

/**
 * Checks the shape of a parsed tokenizer.json and that every component is one whose ids are known to be right.
 * @throws DataError `bad-tokenizer` (not such a file) or `unsupported` (another kind of tokenizer)
 */
export function checkTokenizerJson(value: unknown, file: string): TokenizerJson {
  const bad = (problem: string): never => {
    throw new DataError("bad-tokenizer", `not a tokenizer.json: ${problem}`, { file });
  };
  const unsupported = (problem: string): never => {
    throw new DataError("unsupported", problem, { file });
  };
  const checkComponent = (component: unknown, part: Part, depth = 0): void => {
    if (component === null || component === undefined) return;
    if (!isObject(component) || typeof component.type !== "string") bad(`${part} has no type`);
    const { type } = component as Component;
    if (!(SUPPORTED[part] as readonly string[]).includes(type)) {
      unsupported(`${part} ${JSON.stringify(type)} is not supported; supported are ${SUPPORTED[part].join(", ")}`);
    }
    if (type !== "Sequence") return;
    const children = (component as Component)[CHILDREN[part]];
    if (!Array.isArray(children) || depth > 8) bad(`${part}: expected a list of ${CHILDREN[part]}`);
    for (const child of children as unknown[]) {
      if (child === null) bad(`${part}: expected a component, found null`);
      checkComponent(child, part, depth + 1);
    }
  };

  if (!isObject(value)) return bad("expected an object");
  if (!isObject(value.model)) return bad("model is missing");
  const { model } = value;
  if (model.type !== "BPE") {
    unsupported(`model ${JSON.stringify(model.type)} is not supported; Llama and Mistral tokenizers are BPE`);
  }
  if (!isObject(model.vocab)) return bad("model.vocab is not an object");
  const isId = (id: unknown): boolean => Number.isInteger(id) && (id as number) >= 0 && (id as number) < MAX_TOKENS;
  for (const [token, id] of Object.entries(model.vocab)) {
    if (!isId(id))
      bad(`model.vocab: ${JSON.stringify(token)} has id ${JSON.stringify(id)}, expected 0 … ${MAX_TOKENS - 1}`);
  }
  if (!Array.isArray(model.merges)) return bad("model.merges is not a list");
  for (const merge of model.merges as unknown[]) {
    const isPair = Array.isArray(merge) && merge.length === 2 && merge.every((side) => typeof side === "string");
    if (!isPair && typeof merge !== "string")
      bad(`model.merges: expected a pair of tokens, found ${JSON.stringify(merge)}`);
  }
  if (typeof model.dropout === "number" && model.dropout > 0) {
    unsupported("model.dropout makes ids random; set it to null");
  }
  for (const part of Object.keys(SUPPORTED) as Part[]) checkComponent(value[part], part);
  const added = value.added_tokens ?? [];
  if (!Array.isArray(added)) return bad("added_tokens is not a list");
  for (const token of added as unknown[]) {
    if (!isObject(token) || typeof token.content !== "string" || token.content === "" || !isId(token.id)) {
      bad(`added_tokens: expected content and id, found ${JSON.stringify(token)}`);
    }
    if ((token as { single_word?: unknown }).single_word === true) {
      unsupported(`added token ${JSON.stringify((token as AddedToken).content)}: single_word is not supported`);
    }
  }
  const json = {
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    ...value,
    added_tokens: added,
  } as unknown as TokenizerJson;
  for (const split of leaves(json.pre_tokenizer, "pre_tokenizer").filter(({ type }) => type === "Split")) {
    const plain = split.behavior === "Isolated" && split.invert !== true;
    if (!plain && split.behavior !== "Removed") {
      unsupported(
        `Split with behavior ${JSON.stringify(split.behavior)} and invert ${JSON.stringify(split.invert)} is not supported`,
      );
    }
  }
  return json;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
