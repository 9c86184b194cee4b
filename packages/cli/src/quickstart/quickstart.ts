import { access, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { Checkpoint, parameterCount, writeFileAtomic } from "@slayer/checkpoint";
import { perplexity } from "@slayer/eval";
import { loadWeights } from "@slayer/model";
import { describePlan, expand, planLlamaPro, planSlayer, type SurgeryPlan, verify } from "@slayer/surgery";
import { type Backend, Store } from "@slayer/tensor";
import { checkRecipe, type StepMetrics, train } from "@slayer/train";
import { UserError } from "../errors.js";
import { measureBlocks } from "./importance.js";
import type { QuickstartBudget } from "./budget.js";
import { type HeldOut, type HeldOutText, prepareText } from "./prepare.js";

export interface QuickstartHooks {
  signal?: AbortSignal;
  /** A heading: what begins now. */
  stage: (title: string) => void;
  /** Something worth saying. */
  say: (line: string) => void;
  progress: (label: string, metrics: StepMetrics, steps: number) => void;
}

/** One line of the closing table. Losses in nats per token on held-out text. */
export interface QuickstartRun {
  name: string;
  recipe: string;
  total_parameters: number;
  trainable_parameters: number;
  seconds: number;
  domain_before: number;
  domain_after: number;
  general_before: number;
  general_after: number;
}

/** The base model and its held-out losses before any post-training. */
export interface QuickstartBase {
  parameters: number;
  general: number;
  domain: number;
  seconds: number;
}

const MARKER = "quickstart.json";

/**
 * The whole flow on real text: a small base model is trained from scratch on English prose, measured, expanded by two recipes, and
 * each result post-trained on source code, beside plain fine-tuning of all of the base. Leaves everything under `out`.
 */
export async function quickstart(
  out: string,
  backend: Backend,
  seed: number,
  budget: QuickstartBudget,
  hooks: QuickstartHooks,
): Promise<{ base: QuickstartBase; runs: QuickstartRun[] }> {
  const { stage, say, signal } = hooks;
  await clearOutput(out);

  stage("Text: English prose (documentation of Node.js) and source code (zod), both from installed packages");
  const { files, heldOut } = await prepareText(out, budget, say);

  stage("Base model: trained from scratch on the prose");
  const options = { backend, seed, budget, hooks };
  const base = join(out, "base", "model");
  const baseTrained = await trainRun(
    join(out, "base-init"),
    join(out, "base"),
    files.general,
    "all",
    budget.baseSteps,
    3e-3,
    "base",
    options,
  );
  const before = await losses(base, backend, budget, heldOut, signal);
  const checkpoint = await Checkpoint.open(base);
  const { config } = checkpoint;
  const { total } = parameterCount(config);
  say(
    `${total} parameters in ${config.blocks} blocks; held-out loss: prose ${before.general.toFixed(3)}, code ${before.domain.toFixed(3)} nats per token`,
  );

  stage(
    "Importance: how far each block turns the residual stream, and how the loss rises without it, on held-out prose",
  );
  await measureBlocks(checkpoint, backend, out, heldOut.general.ids, budget, hooks);

  const plans: Record<string, SurgeryPlan> = {
    slayer: planSlayer(config, { groups: 2, groupSize: 2, prune: 1 }),
    "llama-pro": planLlamaPro(config, { groups: 2 }),
  };
  const runs: QuickstartRun[] = [];
  for (const [recipe, plan] of Object.entries(plans)) {
    stage(`${recipe}: surgery, proof, and post-training of the new blocks on the code`);
    const expanded = join(out, `${recipe}-init`);
    await writeFileAtomic(join(out, `${recipe}.plan.json`), `${JSON.stringify(plan, null, 2)}\n`);
    await expand(checkpoint, plan, expanded, { overwrite: true, ...(signal && { signal }) });
    const surgery = await Checkpoint.open(expanded);
    const report = await verify(checkpoint, surgery, { plan });
    await surgery.close();
    if (!report.ok) throw new Error(`verify found: ${report.problems.map(({ message }) => message).join("; ")}`);
    const start = await losses(expanded, backend, budget, heldOut, signal);
    say(`every tensor proven; before training: prose ${start.general.toFixed(3)}, code ${start.domain.toFixed(3)}`);
    const summary = describePlan(plan, config);
    const counts = { total: summary.parameters.total, trainable: summary.trainable.parameters };
    runs.push(await postTrain(recipe, recipe, expanded, "provenance", counts));
  }
  stage("Plain fine-tuning of everything on the code, with the same budget");
  runs.push(await postTrain("full fine-tuning", "none", base, "all", { total, trainable: total }));
  await checkpoint.close();
  return { base: { parameters: total, ...before, seconds: baseTrained.seconds }, runs };

  async function postTrain(
    name: string,
    recipe: string,
    model: string,
    trainable: "all" | "provenance",
    counts: { total: number; trainable: number },
  ): Promise<QuickstartRun> {
    const runOut = join(out, name.replaceAll(" ", "-"));
    const result = await trainRun(model, runOut, files.domain, trainable, budget.postSteps, 1e-3, name, options);
    const after = await losses(result.model, backend, budget, heldOut, signal);
    say(`after training: prose ${after.general.toFixed(3)}, code ${after.domain.toFixed(3)}`);
    return {
      name,
      recipe,
      total_parameters: counts.total,
      trainable_parameters: counts.trainable,
      seconds: result.seconds,
      domain_before: before.domain,
      domain_after: after.domain,
      general_before: before.general,
      general_after: after.general,
    };
  }
}

/** An earlier quickstart's directory is replaced; anything else is left alone. */
async function clearOutput(out: string): Promise<void> {
  const exists = await access(out).then(
    () => true,
    () => false,
  );
  const ours = await access(join(out, MARKER)).then(
    () => true,
    () => false,
  );
  if (exists && !ours) throw new UserError(`${out} exists and is not a quickstart's: choose another --out`);
  await rm(out, { recursive: true, force: true });
  await mkdir(out, { recursive: true });
  await writeFileAtomic(join(out, MARKER), "{}\n");
}

function trainRun(
  model: string,
  out: string,
  data: string,
  trainable: "all" | "provenance",
  steps: number,
  lr: number,
  label: string,
  {
    backend,
    seed,
    budget,
    hooks,
  }: { backend: Backend; seed: number; budget: QuickstartBudget; hooks: QuickstartHooks },
) {
  const recipe = checkRecipe(
    {
      model,
      trainable,
      data: [{ path: data }],
      sequence_length: budget.sequenceLength,
      batch: { sequences: budget.batch },
      steps,
      optimizer: { lr },
      schedule: { warmup: 0.05 },
      seed,
      out,
    },
    label,
  );
  return train(recipe, backend, {
    onStep: (metrics, total) => hooks.progress(label, metrics, total),
    ...(hooks.signal && { signal: hooks.signal }),
  });
}

/** Held-out losses of a model directory, nats per token. */
async function losses(
  dir: string,
  backend: Backend,
  { sequenceLength }: QuickstartBudget,
  heldOut: HeldOut,
  signal: AbortSignal | undefined,
): Promise<{ general: number; domain: number }> {
  const checkpoint = await Checkpoint.open(dir);
  const store = new Store(backend);
  try {
    await loadWeights(checkpoint, store);
    const loss = async ({ ids, bytes }: HeldOutText) =>
      (await perplexity(checkpoint.config, store, ids, { sequenceLength, bytes, ...(signal && { signal }) }))
        .nats_per_token;
    return { general: await loss(heldOut.general), domain: await loss(heldOut.domain) };
  } finally {
    store.free();
    await checkpoint.close();
  }
}
