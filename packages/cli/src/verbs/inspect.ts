import { stat } from "node:fs/promises";
import { join } from "node:path";
import { type Checkpoint, parameterCount, readProvenance } from "@slayer/checkpoint";
import { DataError, Tokenizer } from "@slayer/data";
import type { Command } from "commander";
import { newVerb } from "../command.js";
import { exists } from "../files.js";
import { withCheckpoint } from "../model.js";
import { formatBytes } from "../progress.js";
import type { CommonOptions, Context } from "../run.js";

export function addInspect(program: Command, context: Context): void {
  newVerb(program, "inspect", "show what a checkpoint is, and check every tensor of it", ["slayer inspect model"])
    .argument("<model>", "a directory in Hugging Face layout")
    .action((model: string, options: CommonOptions) =>
      context.run(options, (run) =>
        withCheckpoint(model, async (checkpoint) => {
          checkpoint.validate();
          const found = await inspect(checkpoint);
          run.print(format(found));
          return found;
        }),
      ),
    );
}

type Inspection = Awaited<ReturnType<typeof inspect>>;

async function inspect(checkpoint: Checkpoint) {
  const { config, dir, tensors } = checkpoint;
  const count = parameterCount(config);
  const provenance = await readProvenance(dir);
  const files = checkpoint.files.map((file) => join(dir, file));
  return {
    dir,
    family: config.family,
    blocks: config.blocks,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    heads: config.heads,
    kv_heads: config.kvHeads,
    head_dim: config.headDim,
    vocab_size: config.vocabSize,
    max_position_embeddings: config.maxPositionEmbeddings,
    sliding_window: config.slidingWindow,
    rope: config.rope,
    tied: config.tieWordEmbeddings,
    config_dtype: config.dtype,
    stored_dtypes: [...new Set([...tensors.values()].map(({ dtype }) => dtype))],
    parameters: { total: count.total, per_block: count.block, vocabulary_matrix: count.vocabularyMatrix },
    shards: await Promise.all(
      files.map(async (file, i) => ({
        file: checkpoint.files[i],
        bytes: (await stat(file)).size,
        tensors: [...tensors.values()].filter((tensor) => tensor.file === file).length,
      })),
    ),
    tensors: tensors.size,
    tokenizer: await inspectTokenizer(dir, config.vocabSize),
    provenance:
      provenance === null
        ? null
        : {
            recipe: provenance.recipe,
            preserves_function: provenance.preservesFunction,
            inserted: blocksOf(provenance.blocks, "inserted"),
            updated: blocksOf(provenance.blocks, "updated"),
          },
    valid: true,
  };
}

function blocksOf(blocks: readonly { index: number; kind: string }[], kind: string): number[] {
  return blocks.filter((block) => block.kind === kind).map(({ index }) => index);
}

/** A model without a tokenizer, or with one that is not supported, is still a valid checkpoint. */
async function inspectTokenizer(dir: string, vocabSize: number) {
  if (!(await exists(join(dir, "tokenizer.json")))) return null;
  try {
    const { vocabSize: tokens, bosId = null, eosId = null } = await Tokenizer.load(dir);
    const problem = tokens > vocabSize ? `it has ${tokens} tokens, the model ${vocabSize}` : null;
    return { tokens, bos_id: bosId, eos_id: eosId, problem };
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    return { tokens: null, bos_id: null, eos_id: null, problem: error.message };
  }
}

function format(m: Inspection): string {
  const number = (value: number): string => value.toLocaleString("en");
  const { tokenizer, provenance } = m;
  const window = m.sliding_window === null ? "" : `, sliding window ${number(m.sliding_window)}`;
  const rows: [string, string][] = [
    ["architecture", m.family],
    ["blocks", number(m.blocks)],
    ["width", `${number(m.hidden_size)}, feed-forward ${number(m.intermediate_size)}`],
    ["attention", `${m.heads} heads of ${m.head_dim}, ${m.kv_heads} for keys and values${window}`],
    ["context", `${number(m.max_position_embeddings)} tokens, RoPE ${m.rope.type}, theta ${number(m.rope.theta)}`],
    ["vocabulary", `${number(m.vocab_size)}, ${m.tied ? "embedding and head tied" : "embedding and head not tied"}`],
    ["parameters", `${number(m.parameters.total)}; per block ${number(m.parameters.per_block)}`],
    ["dtype", `${m.stored_dtypes.join(", ")} stored; config says ${m.config_dtype}`],
    [
      "files",
      m.shards.map(({ file, bytes, tensors }) => `${file} (${formatBytes(bytes)}, ${tensors} tensors)`).join(", "),
    ],
    ["tokenizer", tokenizer === null ? "none" : (tokenizer.problem ?? `${number(tokenizer.tokens ?? 0)} tokens`)],
  ];
  if (provenance !== null) {
    const { recipe, inserted, updated } = provenance;
    const changed = `inserted ${inserted.join(", ") || "none"}; updated ${updated.join(", ") || "none"}`;
    rows.push(["provenance", `${typeof recipe["name"] === "string" ? recipe["name"] : "custom"}: ${changed}`]);
  }
  rows.push(["checked", `${m.tensors} tensors: names, shapes, dtypes and byte ranges fit the config`]);
  return rows.map(([label, value]) => `${label.padEnd(14)}${value}`).join("\n");
}
