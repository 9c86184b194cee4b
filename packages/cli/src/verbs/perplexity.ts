import { perplexity } from "@slayer/eval";
import type { Command } from "commander";
import { newVerb, wholeNumber } from "../command.js";
import { addTextOptions, concatenate, loadModel, type TextOptions, tokenizeFiles, withCheckpoint } from "../model.js";
import type { CommonOptions, Context } from "../run.js";

interface PerplexityOptions extends CommonOptions, TextOptions {
  readonly sequenceLength?: number;
  readonly batch: number;
}

export function addPerplexity(program: Command, context: Context): void {
  const verb = newVerb(program, "perplexity", "measure how well a model predicts a text", [
    "slayer perplexity model --data text.txt",
  ]).argument("<model>", "a directory in Hugging Face layout, with its tokenizer");
  addTextOptions(verb)
    .option("--sequence-length <n>", "tokens per window (default: 2048, or the model's longest)", wholeNumber(2))
    .option("--batch <n>", "windows per forward pass", wholeNumber(1), 1)
    .action((model: string, options: PerplexityOptions) =>
      context.run(options, (run) =>
        withCheckpoint(model, async (checkpoint) => {
          const { config } = checkpoint;
          const sequenceLength = options.sequenceLength ?? Math.min(2048, config.maxPositionEmbeddings);
          const documents = await tokenizeFiles(run, model, options);
          const ids = concatenate(documents);
          const bytes = documents.reduce((sum, document) => sum + document.bytes, 0);
          const store = await loadModel(run, checkpoint, await run.backend());
          const { signal } = run;
          const total = Math.ceil(ids.length / sequenceLength);
          const result = await run.progress({ label: "perplexity", total, unit: "windows" }, (progress) =>
            perplexity(config, store, ids, {
              sequenceLength,
              batch: options.batch,
              bytes,
              signal,
              onProgress: (done) => progress.update(done),
            }),
          );
          const { windows, ...document } = result;
          const error = result.standard_error === null ? "" : ` ± ${result.standard_error.toFixed(4)}`;
          run.print(`nats per token  ${result.nats_per_token.toFixed(4)}${error}`);
          run.print(`perplexity      ${result.perplexity.toFixed(3)}`);
          run.print(`bits per byte   ${result.bits_per_byte.toFixed(4)}`);
          run.print(`tokens scored   ${result.tokens}, in ${windows.length} windows of ${sequenceLength} at most`);
          return document;
        }),
      ),
    );
}
