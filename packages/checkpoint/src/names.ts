/** Names of tensors inside a block, without `model.layers.<i>.`, are called suffixes: `self_attn.o_proj.weight`. */

/** At most nine digits and no leading zero, so that one block has exactly one spelling and the number is exact. */
const BLOCK_NAME = /^model\.layers\.(0|[1-9]\d{0,8})\.(.+)$/s;

/**
 * The block a tensor belongs to, or null for tensors outside the blocks (embedding, final norm, head).
 * Whole path segments are compared: `model.layers.20.…` is block 20 and never block 2.
 */
export function blockOf(name: string): { block: number; suffix: string } | null {
  const match = BLOCK_NAME.exec(name);
  if (match?.[1] === undefined || match[2] === undefined) return null;
  return { block: Number(match[1]), suffix: match[2] };
}

/** `blockName(3, "mlp.down_proj.weight")` is `"model.layers.3.mlp.down_proj.weight"`; the inverse of {@link blockOf}. */
export function blockName(block: number, suffix: string): string {
  return `model.layers.${block}.${suffix}`;
}

/**
 * Rotary frequencies that early Llama conversions stored as a buffer. They follow from the config, so readers ignore
 * them and writers leave them out.
 */
export function isRotaryBuffer(name: string): boolean {
  return name === "model.rotary_emb.inv_freq" || blockOf(name)?.suffix === "self_attn.rotary_emb.inv_freq";
}
