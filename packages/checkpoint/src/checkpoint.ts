import { parseConfig } from "./config.js";
import type { ModelConfig } from "./config.js";
import { directory } from "./disk.js";
import { isFloatDtype } from "./dtype.js";
import { CheckpointError } from "./errors.js";
import { closing } from "./files.js";
import type { FileSource, RangeFile } from "./files.js";
import { expectedTensors } from "./geometry.js";
import { isObject, readJsonFile } from "./json.js";
import { isRotaryBuffer } from "./names.js";
import { readTensorTable } from "./shards.js";
import { TensorFiles } from "./tensor-files.js";

/**
 * A Hugging Face checkpoint directory, opened for reading: `config.json` and `model.safetensors`, or shards with
 * `model.safetensors.index.json`. Opening reads the headers only; tensors are read by range when asked for.
 */
export class Checkpoint extends TensorFiles {
  readonly config: ModelConfig;
  /** `config.json` as it stands there. */
  readonly rawConfig: Record<string, unknown>;

  private constructor(
    source: FileSource,
    config: ModelConfig,
    rawConfig: Record<string, unknown>,
    table: Awaited<ReturnType<typeof readTensorTable>>,
  ) {
    super(source, table);
    this.config = config;
    this.rawConfig = rawConfig;
  }

  /**
   * Read config, index and headers, and check them against one another and the file sizes. Whether the tensors are
   * those of the model is for {@link validate}.
   * @param from a directory on disk, or {@link chosenFiles}
   * @throws CheckpointError
   */
  static async open(from: string | FileSource): Promise<Checkpoint> {
    const source = typeof from === "string" ? directory(from) : from;
    const file = source.path("config.json");
    const rawConfig = await closing(await openConfig(source, file), (opened) => readJsonFile(opened, "bad-config"));
    const config = parseConfig(rawConfig, file);
    if (!isObject(rawConfig)) throw new Error("parseConfig accepts objects only");
    return new Checkpoint(source, config, rawConfig, await readTensorTable(source));
  }

  /**
   * Check that the stored tensors are exactly the model's: names, shapes, and a float dtype that can be decoded.
   * Tolerated beyond `expected`: a stored `lm_head.weight` of a tied model, and rotary buffers of early conversions.
   *
   * @param expected name -> shape; by default what the config asks for
   * @throws CheckpointError "missing-tensor" | "extra-tensor" | "wrong-shape" | "wrong-dtype", naming file and tensor
   */
  validate(expected: ReadonlyMap<string, readonly number[]> = expectedTensors(this.config)): void {
    const { vocabSize, hiddenSize, tieWordEmbeddings } = this.config;
    for (const name of expected.keys()) {
      if (this.tensors.has(name)) continue;
      const problem = `missing; ${this.files.join(", ")} together hold ${this.tensors.size} tensors, expected ${expected.size}`;
      throw new CheckpointError("missing-tensor", this.dir, problem, name);
    }
    for (const { name, shape, dtype, file } of this.tensors.values()) {
      const tiedHead = name === "lm_head.weight" && tieWordEmbeddings;
      const wanted = expected.get(name) ?? (tiedHead ? [vocabSize, hiddenSize] : undefined);
      if (wanted === undefined) {
        if (isRotaryBuffer(name)) continue;
        const problem = "not a tensor of this model; does config.json belong to these files?";
        throw new CheckpointError("extra-tensor", file, problem, name);
      }
      if (shape.length !== wanted.length || shape.some((n, i) => n !== wanted[i])) {
        const problem = `expected shape [${wanted.join(", ")}], it is [${shape.join(", ")}]`;
        throw new CheckpointError("wrong-shape", file, problem, name);
      }
      if (!isFloatDtype(dtype)) {
        throw new CheckpointError("wrong-dtype", file, `expected F32, F16, BF16 or F64, it is ${dtype}`, name);
      }
    }
  }
}

/** A directory with an adapter only is a likely mistake, and is told apart. */
async function openConfig(source: FileSource, file: string): Promise<RangeFile> {
  const config = await source.open(file);
  if (config !== undefined) return config;
  const adapter = await source.open(source.path("adapter_config.json"));
  await adapter?.close();
  const problem =
    adapter === undefined
      ? "there is no such file"
      : "there is no such file: this is an adapter, not a model; merge it into its base first (PEFT: merge_and_unload)";
  throw new CheckpointError("missing-file", file, problem);
}
