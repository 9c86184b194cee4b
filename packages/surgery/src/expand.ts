import { copyFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import type { Checkpoint, Provenance, StoredDtype } from "@slayer/checkpoint";
import {
  CheckpointWriter,
  editConfig,
  listSideFiles,
  withOutputDirectory,
  writeFileAtomic,
  writeProvenance,
} from "@slayer/checkpoint";
import { PlanError } from "./errors.js";
import { keepSafe } from "./keep-safe.js";
import { modelCard } from "./model-card.js";
import type { SurgeryPlan } from "./plan.js";
import { provenanceOf } from "./provenance.js";
import type { StreamHashes } from "./stream.js";
import { streamTensors } from "./stream.js";
import { describePlan } from "./summary.js";
import type { TensorTask } from "./tasks.js";
import { tensorTasks } from "./tasks.js";

export interface ExpandOptions {
  /** Replace an existing output directory. Default false: an existing one is an error. */
  readonly overwrite?: boolean;
  /** Tensor bytes per file. Default 5·10⁹, as Transformers 4 does. */
  readonly maxShardBytes?: number;
  /** Called after every piece with bytes of tensor data written and to write. */
  readonly onProgress?: (bytesDone: number, bytesTotal: number) => void;
  /** Stops the surgery; nothing is left behind, and the call throws the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface ExpandResult {
  /** Safetensors files and index, as plain names. */
  readonly files: readonly string[];
  readonly bytesWritten: number;
  readonly bytesRead: number;
  readonly provenance: Provenance;
  /** Side files of the base that came along, and other files that did not. */
  readonly sideFiles: { readonly copied: readonly string[]; readonly left: readonly string[] };
}

/**
 * Applies a plan: streams `base` into a new checkpoint directory `outDir`, which appears complete or not at all.
 *
 * Memory: at most some 150 MiB of pieces, whatever the model. Every base tensor that is used is read once, also when it
 * is copied and averaged into its neighbours; zeroed tensors and deleted blocks that nothing averages are not read.
 *
 * The same plan on the same base gives the same bytes. Throws `PlanError` when plan and base do not fit each other or
 * the output would replace the base, `CheckpointError` for a bad base, an existing output or a full disk.
 */
export async function expand(
  base: Checkpoint,
  plan: SurgeryPlan,
  outDir: string,
  options: ExpandOptions = {},
): Promise<ExpandResult> {
  const { overwrite = false, maxShardBytes, signal } = options;
  signal?.throwIfAborted();
  if (maxShardBytes !== undefined && !(Number.isSafeInteger(maxShardBytes) && maxShardBytes > 0)) {
    throw new PlanError(`maxShardBytes must be a whole number of at least 1, got ${maxShardBytes}`);
  }
  base.validate();
  const tasks = tensorTasks(base, plan);
  await keepSafe(base.dir, outDir);
  const summary = describePlan(plan, { ...base.config, dtype: configDtype(tasks) ?? base.config.dtype });
  const side = await listSideFiles(base.dir);
  const baseName = basename(resolve(base.dir));
  const total = tasks.reduce((sum, task) => sum + task.bytes, 0);
  const readBefore = base.bytesRead;

  return withOutputDirectory(outDir, { overwrite, neededBytes: total + side.bytes }, async (dir) => {
    const writer = await CheckpointWriter.create(dir, tasks, maxShardBytes === undefined ? {} : { maxShardBytes });
    let done = 0;
    let hashes: StreamHashes;
    let written: { readonly files: readonly string[] };
    try {
      hashes = await streamTensors(base, tasks, {
        signal,
        write: (tensor, bytes) => writer.write(tensor, bytes),
        onWritten: (bytes) => {
          done += bytes;
          options.onProgress?.(done, total);
        },
      });
      written = await writer.finish();
    } catch (error) {
      await writer.abort();
      throw error;
    }

    const config = editConfig(base.rawConfig, { num_hidden_layers: plan.blocks.length });
    await writeFileAtomic(join(dir, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
    for (const name of side.copied) await copyFile(join(base.dir, name), join(dir, name));
    const provenance = provenanceOf(plan, tasks, baseName, hashes);
    await writeProvenance(dir, provenance);
    await writeFileAtomic(join(dir, "README.md"), modelCard(baseName, summary));
    signal?.throwIfAborted();
    return {
      files: written.files,
      bytesWritten: done,
      bytesRead: base.bytesRead - readBefore,
      provenance,
      sideFiles: { copied: side.copied, left: side.left },
    };
  });
}

/** What config.json would call the stored dtype, when all tensors share one. */
function configDtype(tasks: readonly TensorTask[]): string | undefined {
  const names: Partial<Record<StoredDtype, string>> = {
    F64: "float64",
    F32: "float32",
    F16: "float16",
    BF16: "bfloat16",
  };
  const dtypes = new Set(tasks.map((task) => task.dtype));
  const [only] = dtypes;
  return dtypes.size === 1 && only !== undefined ? names[only] : undefined;
}
