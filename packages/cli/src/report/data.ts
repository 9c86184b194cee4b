import type { Scores } from "@slayer/importance";
import type { BlockPlan, RecipeRecord } from "@slayer/surgery";
import type { Comparison } from "./comparison.js";
import type { Ranks } from "./ranks.js";
import type { RunMetrics } from "./metrics.js";

/** A surgery as a plan or a provenance record describes it. */
export interface Surgery {
  readonly baseBlocks: number;
  readonly blocks: readonly BlockPlan[];
  readonly recipe: Readonly<Record<string, unknown>> | RecipeRecord;
  readonly preservesFunction: boolean;
  readonly notes: readonly string[];
}

type Named<T> = T & { readonly name: string };

/** What a report shows; sections without content are left out. Every text in it may come from a stranger. */
export interface ReportData {
  readonly title: string;
  /** While a run goes on: the page reloads itself. */
  readonly reloadAfterSeconds?: number;
  readonly scores?: readonly { readonly name: string; readonly scores: Scores }[];
  readonly surgeries?: readonly Named<Surgery>[];
  /** Of AdaLoRA; `picture` is the same chart's file beside the page. */
  readonly ranks?: readonly { readonly name: string; readonly ranks: Ranks; readonly picture?: string }[];
  readonly runs?: readonly Named<RunMetrics>[];
  /** The first run is one that the others are compared with, step by step. */
  readonly compare?: boolean;
  readonly comparisons?: readonly Named<Comparison>[];
}
