import { join } from "node:path";
import { CheckpointError, isModelFile, readJson } from "@slayer/checkpoint";
import { z } from "zod";

export const DELTA_FILE = "delta.json";

/** Files beside the weights lie in this folder of a delta, so that no tool takes a delta for a model. */
export const CARRIED_FOLDER = "files";

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "expected 64 lower-case hexadecimal digits");
const tensorName = z.string().min(1).max(1000);
const size = z.int().nonnegative();
/** A plain name, on every system. */
const weightFile = z.string().regex(/^[A-Za-z0-9_][\w.-]{0,200}\.safetensors$/, "expected a plain file name");

const deltaSchema = z.strictObject({
  version: z.literal(1),
  /** The base's name, for people; what it must hold is what `files` says. */
  base: z.strictObject({ name: z.string().max(300) }),
  /** The model's weights, file by file, tensors in their order. */
  files: z
    .array(
      z.strictObject({
        file: weightFile,
        tensors: z.array(
          z.strictObject({
            name: tensorName,
            dtype: z.enum(["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"]),
            shape: z.array(size).max(16),
            /** Of its bytes. */
            sha256,
            /** The base's tensor that has these bytes; a tensor without one is in the delta. */
            base: tensorName.optional(),
          }),
        ),
      }),
    )
    .min(1)
    .max(10_000),
  /** Config, tokenizer and other files beside the weights, in `files/`. */
  carried: z.record(z.string().refine(isModelFile, "expected the name of a file that belongs to a model"), sha256),
}); // prettier-ignore

/** A model as the difference from its base: the content of `delta.json`. */
export type Delta = z.infer<typeof deltaSchema>;
export type DeltaTensor = Delta["files"][number]["tensors"][number];

/**
 * `delta.json` of a delta's directory, which may come from anywhere.
 * @throws CheckpointError "missing-file" | "bad-delta" | "duplicate-key"
 */
export async function readDelta(dir: string): Promise<Delta> {
  const file = join(dir, DELTA_FILE);
  const parsed = deltaSchema.safeParse(await readJson(file, "bad-delta"));
  if (!parsed.success) throw new CheckpointError("bad-delta", file, z.prettifyError(parsed.error).slice(0, 2000));
  const names = new Set<string>();
  for (const { name } of parsed.data.files.flatMap((entry) => [{ name: entry.file }, ...entry.tensors])) {
    if (names.has(name)) throw new CheckpointError("bad-delta", file, `${JSON.stringify(name)} is listed twice`);
    names.add(name);
  }
  return parsed.data;
}
