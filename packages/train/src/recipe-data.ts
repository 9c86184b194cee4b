import { z } from "zod";

/** One entry under `data`. */
export const dataSource = z.strictObject({
  /** Files, or patterns such as math/*.jsonl: .txt and .md (one document each), .jsonl, .json (a list), each also .gz or .zst; .parquet. */
  path: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)], {
    error: "expected a path or a list of paths",
  }),
  /** cpt: the field of a record that holds the text. */
  text: z.string().min(1).default("text"),
  /** sft: how a record holds a conversation. */
  layout: z.enum(["auto", "openai", "sharegpt", "alpaca"]).default("auto"),
  /** Where the extension does not say it. */
  format: z.enum(["auto", "text", "jsonl", "json", "parquet"]).default("auto"),
  /** Share of the tokens relative to the other sources'; all have one, or none has. */
  weight: z.number().positive().optional(),
});

/** Held-out text: a path or pattern, alone where its records' field is "text". */
export const heldOutText = z.union(
  [z.string().min(1), dataSource.pick({ path: true, text: true, format: true }).extend({ path: z.string().min(1) })],
  { error: "expected a path, or {path: FILES, text: FIELD}" },
);

export type HeldOutText = z.infer<typeof heldOutText>;

/** Keys of a recipe beside `data` that say what becomes of the data. */
export const dataKeys = {
  /**
   * concatenate: documents run on, as in the paper. documents: attention and loss stay within a document. whole: that, and no
   * document is cut in two. Default: concatenate for cpt, whole for sft.
   */
  packing: z.enum(["concatenate", "documents", "whole"]).optional(),
  /**
   * cpt: nothing is tokenized before and nothing kept: documents are read and tokenized as they are used, in the order of their files, which
   * is not shuffled, again and again.
   */
  streaming: z.boolean().optional(),
  /** cpt: share of the documents, by the hash of their text, that is not trained on but evaluated. */
  held_out: z.number().min(0).lt(1).default(0),
  /** Share of the records of a source that may be unreadable; they are left out, and more are an error. */
  bad_records: z.number().min(0).max(1).default(0.01),
  /** sft: a Jinja file, where the model has no chat template or another is wanted. */
  chat_template: z.string().min(1).optional(),
  /** Where tokenized sources are kept, for other runs too. Default: tokens/ in the run's directory. */
  token_cache: z.string().min(1).optional(),
};

export type Packing = "concatenate" | "documents" | "whole";

interface DataPart {
  readonly stage: "cpt" | "sft";
  readonly packing?: Packing | undefined;
  readonly held_out: number;
  readonly streaming?: boolean | undefined;
  readonly token_cache?: string | undefined;
  readonly epochs?: number | undefined;
  readonly chat_template?: string | undefined;
  readonly data: readonly z.infer<typeof dataSource>[];
}

/** The packing that a recipe means. */
export function packingOf({ stage, packing }: Pick<DataPart, "stage" | "packing">): Packing {
  return packing ?? (stage === "sft" ? "whole" : "concatenate");
}

/** What is wrong with a recipe's data keys taken together. */
export function dataProblem(recipe: DataPart): string | undefined {
  const { stage, held_out, chat_template, data } = recipe;
  const weighted = data.filter(({ weight }) => weight !== undefined).length;
  if (weighted !== 0 && weighted !== data.length) {
    return `data: ${weighted} of ${data.length} sources have a weight; give one to each, or to none to read all once per epoch`;
  }
  if (stage === "cpt" && chat_template !== undefined) return "chat_template belongs to stage: sft";
  if (stage === "sft" && held_out > 0)
    return "held_out belongs to stage: cpt; for sft keep conversations in files of their own, for eval.conversations";
  if (stage === "sft" && packingOf(recipe) !== "whole") {
    return "stage: sft packs whole conversations side by side; leave packing out";
  }
  return recipe.streaming ? streamingProblem(recipe) : undefined;
}

/** Nobody has read data that is streamed before it is used. */
function streamingProblem(recipe: DataPart): string | undefined {
  if (recipe.stage === "sft")
    return "streaming belongs to stage: cpt; conversations are packed whole, by the lengths of all";
  if (packingOf(recipe) === "whole")
    return "streaming: packing: whole needs the lengths of all documents; use concatenate or documents";
  if (recipe.held_out > 0)
    return "streaming: held_out is not built; keep held-out documents in files of their own, for eval.perplexity";
  if (recipe.epochs !== undefined) return "streaming: how long an epoch is is not known before; give steps or tokens";
  if (recipe.token_cache !== undefined) return "streaming keeps no tokens; leave token_cache out";
  return undefined;
}
