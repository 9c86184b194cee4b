import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import type { ModelConfig } from "@slayer/checkpoint";
import { Checkpoint } from "@slayer/checkpoint";
import { expand, planSlayer, verify } from "@slayer/surgery";
import type { SurgeryPlan, VerifyOptions, VerifyReport } from "@slayer/surgery";
import type { BaseOptions, Dtype, Stored } from "./checkpoints.js";
import { readTensors, sha256, writeBase, writeSafetensors } from "./checkpoints.js";

/** Expanded checkpoints to tamper with. */

const root = await mkdtemp(join(tmpdir(), "surgery-verify-"));
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

export async function expandNew(
  name: string,
  options: BaseOptions,
  planner: (config: ModelConfig) => SurgeryPlan = planSlayer,
): Promise<{ dir: string; plan: SurgeryPlan }> {
  const dir = join(root, name);
  await writeBase(join(dir, "base"), options);
  const base = await Checkpoint.open(join(dir, "base"));
  const plan = planner(base.config);
  await expand(base, plan, join(dir, "out"));
  await base.close();
  return { dir, plan };
}

/** One base and its `slayer` expansion per dtype; tests work on copies. */
export const pristine = {
  F32: await expandNew("F32", { dtype: "F32" }),
  BF16: await expandNew("BF16", { dtype: "BF16" }),
  F16: await expandNew("F16", { dtype: "F16" }),
};

let copies = 0;
export interface Copy {
  dir: string;
  base: Map<string, Stored>;
  out: Map<string, Stored>;
  plan: SurgeryPlan;
}

export async function copyOf(dtype: Dtype): Promise<Copy> {
  const { plan } = pristine[dtype];
  const dir = join(root, `copy-${(copies += 1)}`);
  await cp(pristine[dtype].dir, dir, { recursive: true, verbatimSymlinks: true });
  return { dir, plan, base: await readTensors(join(dir, "base")), out: await readTensors(join(dir, "out")) };
}

export async function verifyIn(dir: string, options: VerifyOptions = {}): Promise<VerifyReport> {
  const base = await Checkpoint.open(join(dir, "base"));
  const expanded = await Checkpoint.open(join(dir, "out"));
  try {
    return await verify(base, expanded, options);
  } finally {
    await base.close();
    await expanded.close();
  }
}

/** Writes changed tensors, and makes provenance.json agree with them, as a forger would. */
export async function store(copy: Copy, forge: boolean): Promise<void> {
  await writeSafetensors(join(copy.dir, "out", "model.safetensors"), copy.out);
  if (!forge) return;
  await editJson(copy, "provenance.json", (provenance) => {
    for (const [name, { bytes }] of copy.out) {
      if (name in provenance.tensors) provenance.tensors[name].sha256 = sha256(bytes);
    }
  });
}

export async function editJson(copy: Copy, file: string, edit: (json: any) => void): Promise<void> {
  const path = join(copy.dir, "out", file);
  const json = JSON.parse(await readFile(path, "utf8"));
  edit(json);
  await writeFile(path, JSON.stringify(json));
}

export const at = (index: number, suffix: string): string => `model.layers.${index}.${suffix}`;
export const get = (tensors: Map<string, Stored>, name: string): Stored => tensors.get(name) as Stored;
export const codes = (report: VerifyReport): [string, string | undefined][] =>
  report.problems.map((p) => [p.code, p.tensor]);
