// What is fuzzed: readers of files that may come from anywhere. Each takes any bytes and either returns something consistent or
// throws one of the errors made for users.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mutateBytes, mutateJson } from "./mutate.mjs";

/**
 * @typedef {object} Target
 * @property {string} name
 * @property {(random: import("./mutate.mjs").Random) => Uint8Array} input
 * @property {(bytes: Uint8Array) => unknown} read returns, or throws; asserts what must hold of what it returns
 */

const encode = (/** @type {string} */ text) => new TextEncoder().encode(text);

/** @param {unknown} json @param {Uint8Array} data @param {number} [claimed] the header's length as the file states it */
function safetensors(json, data, claimed) {
  return pack(encode(JSON.stringify(json)), data, claimed);
}

/** @param {Uint8Array} header @param {Uint8Array} data @param {number} [claimed] */
function pack(header, data, claimed = header.length) {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(claimed));
  return Buffer.concat([length, header, data]);
}

const header = {
  __metadata__: { format: "pt" },
  a: { dtype: "F32", shape: [2, 2], data_offsets: [0, 16] },
  b: { dtype: "BF16", shape: [3], data_offsets: [16, 22] },
  none: { dtype: "I64", shape: [0, 7], data_offsets: [22, 22] },
};

/** @param {import("./mutate.mjs").Random} random @param {unknown} json */
const jsonInput = (random, json) =>
  random() < 0.3 ? mutateBytes(random, encode(JSON.stringify(json))) : encode(mutateJson(random, json));

const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 32,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 8,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_scaling: { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
  eos_token_id: [1, 2],
  tie_word_embeddings: true,
};

const custom = `remove: [7]
insert:
  - { after: 3, sources: [3, 4] }
  - { after: 5, sources: [{ block: 5, weight: 0.7 }, { block: 6, weight: 0.3 }], zeroed: none }
update:
  - { block: 6, sources: [6, 7] }
train: new
`;

/**
 * @param {{ checkpoint: typeof import("../../packages/checkpoint/src/index.js"), surgery: typeof import("../../packages/surgery/src/index.js") }} libraries
 * @param {string} dir an empty folder for files
 * @returns {Target[]}
 */
export function targetsIn({ checkpoint, surgery }, dir) {
  const { parseConfig, readHeader, readProvenance, TensorFiles, expectedTensors, parameterCount } = checkpoint;
  const folder = (/** @type {string} */ name) => {
    mkdirSync(join(dir, name), { recursive: true });
    return join(dir, name);
  };
  const plan = surgery.planSlayer(parseConfig(config, "config.json"));
  const hash = "0123456789abcdef".repeat(4);
  const provenance = {
    version: 1,
    recipe: plan.recipe,
    base: { path: "base", tensors: { a: hash } },
    blocks: plan.blocks,
    tensors: { a: { sources: [{ tensor: "a", weight: 1 }], zeroed: false, sha256: hash } },
    preservesFunction: false,
  };
  const delta = {
    version: 1,
    base: { name: "base" },
    files: [{ file: "model.safetensors", tensors: [
      { name: "a", dtype: "F32", shape: [2, 2], sha256: hash, base: "a" },
      { name: "b", dtype: "BF16", shape: [3], sha256: hash },
    ] }],
    carried: { "config.json": hash },
  }; // prettier-ignore

  return [
    {
      name: "safetensors",
      input: (random) => {
        const data = new Uint8Array(22);
        const roll = random();
        if (roll < 0.3) return mutateBytes(random, safetensors(header, data));
        if (roll < 0.4) return safetensors(header, data, Math.floor(random() * 2 ** (random() * 64)));
        return pack(
          encode(mutateJson(random, header)),
          data.subarray(0, random() < 0.8 ? 22 : Math.floor(random() * 22)),
        );
      },
      read: async (bytes) => {
        const file = join(folder("safetensors"), "x.safetensors");
        writeFileSync(file, bytes);
        const { tensors, dataBegin } = await readHeader(file);
        let position = dataBegin;
        for (const { begin, end, dtype, shape } of tensors.values()) {
          assert.equal(begin, position);
          assert.equal(
            end - begin,
            shape.reduce((product, size) => product * size, checkpoint.byteSize(dtype)),
          );
          position = end;
        }
        assert.equal(position, bytes.length);
      },
    },
    {
      name: "index",
      input: (random) =>
        jsonInput(random, { metadata: { total_size: 22 }, weight_map: { a: "1.safetensors", b: "2.safetensors" } }),
      read: async (bytes) => {
        const where = folder("index");
        const one = { a: { dtype: "F32", shape: [1], data_offsets: [0, 4] } };
        writeFileSync(join(where, "1.safetensors"), safetensors(one, new Uint8Array(4)));
        writeFileSync(join(where, "2.safetensors"), safetensors({ b: one.a }, new Uint8Array(4)));
        writeFileSync(join(where, "model.safetensors.index.json"), bytes);
        const files = await TensorFiles.openTensors(where);
        for (const name of files.tensors.keys()) assert.equal((await files.read(name)).length, 4);
        await files.close();
      },
    },
    {
      name: "config",
      input: (random) =>
        jsonInput(random, random() < 0.2 ? { ...config, model_type: "mistral", architectures: null } : config),
      read: async (bytes) => {
        const where = folder("config");
        writeFileSync(join(where, "config.json"), bytes);
        writeFileSync(join(where, "model.safetensors"), safetensors({}, new Uint8Array(0)));
        const { config: read } = await checkpoint.Checkpoint.open(where);
        const { total } = parameterCount(read);
        let counted = 0;
        for (const shape of expectedTensors(read).values())
          counted += shape.reduce((product, size) => product * size, 1);
        assert.equal(counted, total);
        for (const recipe of ["slayer", "llama-pro", "solar"]) {
          if (read.blocks <= 4096) surgery.describePlan(surgery.planRecipe(recipe, read), read);
        }
      },
    },
    {
      name: "plan",
      input: (random) => jsonInput(random, plan),
      read: (bytes) => {
        const read = surgery.parsePlan(new TextDecoder().decode(bytes));
        assert.deepEqual(surgery.parsePlan(JSON.stringify(read)), read);
      },
    },
    {
      name: "custom",
      input: (random) => mutateBytes(random, encode(custom)),
      read: (bytes) =>
        surgery.planCustom(
          parseConfig(config, "config.json"),
          surgery.parseCustomSurgery(new TextDecoder().decode(bytes)),
        ),
    },
    {
      name: "provenance",
      input: (random) => jsonInput(random, provenance),
      read: async (bytes) => {
        const where = folder("provenance");
        writeFileSync(join(where, "provenance.json"), bytes);
        assert.notEqual(await readProvenance(where), null);
      },
    },
    {
      name: "delta",
      input: (random) => jsonInput(random, delta),
      read: async (bytes) => {
        const where = folder("delta");
        writeFileSync(join(where, "delta.json"), bytes);
        const { files, carried } = await surgery.readDelta(where);
        for (const name of [...Object.keys(carried), ...files.map(({ file }) => file)])
          assert.match(name, /^[\w][\w.-]*$/);
      },
    },
  ];
}
