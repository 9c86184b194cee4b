import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { ChatTemplate } from "./chat-template.js";
import type { Conversation } from "./layouts.js";

/**
 * The tokens of a conversation: id where the assistant wrote any part of the token's text, ~id elsewhere. The text is encoded whole,
 * without special tokens added: a template writes them itself. A reason where there is nothing to learn.
 */
export function encodeChat(
  conversation: Conversation,
  template: ChatTemplate,
  tokenizer: Tokenizer,
): Int32Array | { reason: string } {
  const rendered = template.render(conversation);
  if ("reason" in rendered) return rendered;
  const text = rendered.text.replaceAll(/\p{Surrogate}/gu, "\uFFFD");
  const { ids, starts, ends } = tokenizer.encodeWithOffsets(text);
  const tokens = ids.map((id, i) => {
    const isScored = rendered.spans.some(({ start, end }) => starts[i]! < end && ends[i]! > start);
    return isScored ? id : ~id;
  });
  // The first token is no target.
  return tokens.subarray(1).some((token) => token >= 0) ? tokens : { reason: "no text of the assistant" };
}
