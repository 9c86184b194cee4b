import { isObject, leaves, type TokenizerJson } from "./format.js";

/** Ids that post-processing puts around a text. */
export interface Around {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** Undefined where the template is none of the usual ones; then the library applies it. */
export function specialsAround(json: TokenizerJson, idOf: (token: string) => number | undefined): Around | undefined {
  const templates = leaves(json.post_processor, "post_processor").filter(({ type }) => type !== "ByteLevel");
  if (templates.length === 0) return { before: [], after: [] };
  const single = templates[0]?.single;
  if (templates.length > 1 || !Array.isArray(single)) return undefined;
  const items = single.map((item: unknown) => {
    if (!isObject(item)) return undefined;
    if (isObject(item.Sequence) && item.Sequence.id === "A") return "text";
    return isObject(item.SpecialToken) ? idOf(String(item.SpecialToken.id)) : undefined;
  });
  const at = items.indexOf("text");
  if (at < 0 || items.includes(undefined) || items.lastIndexOf("text") !== at) return undefined;
  return { before: items.slice(0, at) as number[], after: items.slice(at + 1) as number[] };
}
