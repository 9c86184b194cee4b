import fc from "fast-check";
import { expect, it } from "vitest";

import { blockName, blockOf, isRotaryBuffer } from "@slayer/checkpoint";

it("blockOf compares whole path segments: block 20 is not block 2", () => {
  expect(blockOf("model.layers.20.mlp.up_proj.weight")).toEqual({ block: 20, suffix: "mlp.up_proj.weight" });
  expect(blockOf("model.layers.2.mlp.up_proj.weight")).toEqual({ block: 2, suffix: "mlp.up_proj.weight" });
});

it.each([
  "model.norm.weight",
  "model.embed_tokens.weight",
  "lm_head.weight",
  "layers.2.mlp.up_proj.weight",
  "x.model.layers.2.mlp.up_proj.weight",
  "model.layers.02.mlp.up_proj.weight",
  "model.layers.-2.x",
  "model.layers.2x.y",
  "model.layers.2",
  "model.layers.2.",
  "model.layers.99999999999999999999.x",
  "modelXlayers.2.x",
])("blockOf(%j) is null", (name) => {
  expect(blockOf(name)).toBe(null);
});

it("blockName and blockOf are inverse (property)", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 999_999_999 }), fc.string({ minLength: 1 }), (block, suffix) => {
      expect(blockOf(blockName(block, suffix))).toEqual({ block, suffix });
    }),
  );
});

it("isRotaryBuffer knows the two places, and nothing else", () => {
  expect(isRotaryBuffer("model.layers.3.self_attn.rotary_emb.inv_freq")).toBe(true);
  expect(isRotaryBuffer("model.rotary_emb.inv_freq")).toBe(true);
  expect(isRotaryBuffer("model.layers.3.mlp.rotary_emb.inv_freq")).toBe(false);
  expect(isRotaryBuffer("rotary_emb.inv_freq")).toBe(false);
});
