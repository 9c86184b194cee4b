import { Pcg32, Tokenizer } from "@slayer/data";
import { generate } from "@slayer/model";
import type { Command } from "commander";
import { newVerb, numberIn, wholeNumber } from "../command.js";
import { UserError } from "../errors.js";
import { loadModel, withCheckpoint } from "../model.js";
import type { CommonOptions, Context } from "../run.js";

interface GenerateOptions extends CommonOptions {
  readonly prompt: string;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
}

export function addGenerate(program: Command, context: Context): void {
  newVerb(program, "generate", "continue a text; the continuation is streamed to stdout", [
    'slayer generate model --prompt "Once upon a time" --max-tokens 20',
  ])
    .argument("<model>", "a directory in Hugging Face layout, with its tokenizer")
    .requiredOption("--prompt <text>", "what to continue")
    .option("--max-tokens <n>", "generate this many tokens at most", wholeNumber(1), 128)
    .option("--temperature <t>", "0 takes the likeliest token each time", numberIn(0, Infinity), 0)
    .option(
      "--top-p <p>",
      "draw among the likeliest tokens that together have this probability",
      numberIn(0, 1, true),
      1,
    )
    .action((model: string, options: GenerateOptions) =>
      context.run(options, (run) =>
        withCheckpoint(model, async (checkpoint) => {
          const { config } = checkpoint;
          const { prompt, maxTokens, temperature, topP } = options;
          const tokenizer = await Tokenizer.load(model);
          const promptIds = tokenizer.encode(prompt);
          checkPrompt(promptIds, config.vocabSize);
          if (promptIds.length + maxTokens > config.maxPositionEmbeddings) {
            run.warn(
              `the prompt of ${promptIds.length} tokens and ${maxTokens} more leave the ` +
                `${config.maxPositionEmbeddings} positions that the model is made for`,
            );
          }
          const store = await loadModel(run, checkpoint, await run.backend());
          const generator = new Pcg32(run.seed, 0);
          const random = (): number => generator.next() / 2 ** 32;
          const stream = tokenizer.decodeStream({ skipSpecialTokens: true });
          const ids: number[] = [];
          let text = "";
          const emit = (piece: string): void => {
            text += piece;
            run.write(piece);
          };
          const start = performance.now();
          const { signal } = run;
          for await (const id of generate(config, store, promptIds, { maxTokens, temperature, topP, random, signal })) {
            ids.push(id);
            emit(stream.push(id));
          }
          emit(stream.flush());
          run.print("");
          const seconds = (performance.now() - start) / 1000;
          run.log(`${ids.length} tokens, ${(ids.length / seconds).toFixed(1)} tokens/s`);
          const stopped = config.eosTokenIds.includes(ids.at(-1) ?? -1) ? "end-of-text" : "max-tokens";
          return { prompt, text, prompt_tokens: promptIds.length, ids, stopped, seconds };
        }),
      ),
    );
}

function checkPrompt(ids: Int32Array, vocabSize: number): void {
  if (ids.length === 0) throw new UserError("--prompt: expected at least one token, the text has none; give some text");
  const outside = ids.find((id) => id >= vocabSize);
  if (outside === undefined) return;
  throw new UserError(
    `the tokenizer gives id ${outside}, the model has ids 0 to ${vocabSize - 1}; use the tokenizer that belongs to it`,
  );
}
