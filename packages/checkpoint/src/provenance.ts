import { stat } from "node:fs/promises";
import { join } from "node:path";

import { z } from "zod";

import { writeFileAtomic } from "./directory.js";
import { CheckpointError, systemErrorCode } from "./errors.js";
import { readJson } from "./disk.js";

export const PROVENANCE_FILE = "provenance.json";

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "expected 64 lower-case hexadecimal digits");
const weight = z.number();

/** A machine's directories say nothing on another one. */
const portablePath = z
  .string()
  .refine((path) => !/^([/\\~]|[A-Za-z]:)/.test(path), "expected a relative path or a name");

const blockSchema = z.strictObject({
  /** Index in the new checkpoint. */
  index: z.int().nonnegative(),
  /** original: copied; inserted: new; updated: an original that was re-initialised and is trained. */
  kind: z.enum(["original", "inserted", "updated"]),
  /** Blocks of the base and their weights. */
  sources: z.array(z.strictObject({ block: z.int().nonnegative(), weight })),
  /** Suffixes of tensors that were set to 0, like `self_attn.o_proj.weight`. */
  zeroed: z.array(z.string()),
});

const tensorSchema = z.strictObject({
  /** Tensors of the base and their weights; empty for tensors that have none. */
  sources: z.array(z.strictObject({ tensor: z.string(), weight })),
  zeroed: z.boolean(),
  /** Of the tensor's bytes as written. */
  sha256,
});

/** Strict, so that nothing that changes from run to run (dates, absolute paths) creeps in. */
const provenanceSchema = z.strictObject({
  version: z.literal(1),
  /** The surgery's recipe, as given. */
  recipe: z.record(z.string(), z.json()),
  base: z.strictObject({ path: portablePath.optional(), tensors: z.record(z.string(), sha256) }),
  blocks: z
    .array(blockSchema)
    .refine((blocks) => blocks.every(({ index }, i) => index === i), "blocks must be listed as 0, 1, 2, …"),
  tensors: z.record(z.string(), tensorSchema),
  /** Whether the new model computes exactly what the base computes. */
  preservesFunction: z.boolean(),
});

/** The content of `provenance.json`: where every block and tensor of an expanded checkpoint comes from. */
export type Provenance = z.infer<typeof provenanceSchema>;

/** One block of a {@link Provenance}. */
export type BlockProvenance = Provenance["blocks"][number];

function check(value: unknown, file: string): Provenance {
  const parsed = provenanceSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new CheckpointError("bad-provenance", file, z.prettifyError(parsed.error));
}

/**
 * `provenance.json` of a checkpoint directory, or null when there is none.
 * @throws CheckpointError "bad-provenance"
 */
export async function readProvenance(dir: string): Promise<Provenance | null> {
  const file = join(dir, PROVENANCE_FILE);
  try {
    await stat(file);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
  return check(await readJson(file, "bad-provenance"), file);
}

/** Write `provenance.json`. Equal provenance gives equal bytes (tensors in the order given). */
export async function writeProvenance(dir: string, provenance: Provenance): Promise<void> {
  const file = join(dir, PROVENANCE_FILE);
  await writeFileAtomic(file, `${JSON.stringify(check(provenance, file), null, 2)}\n`);
}
