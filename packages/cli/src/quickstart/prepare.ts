import { join } from "node:path";
import { writeFileAtomic } from "@slayer/checkpoint";
import { isHeldOut, Tokenizer, trainBpe } from "@slayer/data";
import { baseConfig, writeRandomModel } from "./base-model.js";
import type { QuickstartBudget } from "./budget.js";
import { quickstartTexts } from "./texts.js";

export interface HeldOutText {
  ids: Int32Array;
  /** UTF-8 length. */
  bytes: number;
}

export interface HeldOut {
  general: HeldOutText;
  domain: HeldOutText;
}

/**
 * Texts, split by the hash of each document, a tokenizer trained on the prose, and the base model before training, all under `out`.
 */
export async function prepareText(out: string, budget: QuickstartBudget, say: (line: string) => void) {
  const texts = await quickstartTexts();
  const split = (documents: string[]) => ({
    training: documents.filter((text) => !isHeldOut(text, 0.1)).slice(0, budget.documents),
    heldOut: documents.filter((text) => isHeldOut(text, 0.1)),
  });
  const general = split(texts.prose);
  const domain = split(texts.code);
  // Of the prose alone, as the base has seen it: tokens that only code uses would have embeddings that nothing has trained.
  const tokenizerFiles = trainBpe(general.training, { vocabSize: budget.vocabSize, bosToken: null });
  const tokenizer = Tokenizer.parse(JSON.stringify(tokenizerFiles.tokenizerJson), tokenizerFiles.tokenizerConfig);
  const files = { general: join(out, "prose.jsonl"), domain: join(out, "code.jsonl") };
  await writeDocuments(files.general, general.training);
  await writeDocuments(files.domain, domain.training);
  const holdOut = async (name: string, documents: string[]) => {
    const kept = firstDocuments(documents, tokenizer, budget.heldOutTokens);
    await writeDocuments(join(out, `held-out-${name}.jsonl`), kept);
    return heldOutText(kept, tokenizer);
  };
  const heldOut: HeldOut = {
    general: await holdOut("prose", general.heldOut),
    domain: await holdOut("code", domain.heldOut),
  };
  const describe = (name: string, { training, heldOut: held }: { training: string[]; heldOut: string[] }) =>
    `${name}: ${training.length} documents to train on, ${held.length} held out by hash`;
  say(`${describe("prose", general)}; ${describe("code", domain)}; byte-level BPE of ${tokenizer.vocabSize} tokens`);
  await writeRandomModel(
    join(out, "base-init"),
    baseConfig(budget, tokenizer.vocabSize, tokenizer.eosId!),
    tokenizerFiles,
    1,
  );
  return { files, heldOut };
}

async function writeDocuments(file: string, documents: readonly string[]): Promise<void> {
  await writeFileAtomic(file, documents.map((text) => `${JSON.stringify({ text })}\n`).join(""));
}

/** The first documents, as many as hold `count` tokens. */
function firstDocuments(documents: readonly string[], tokenizer: Tokenizer, count: number): string[] {
  let tokens = 0;
  return documents.filter((text) => {
    const wanted = tokens < count;
    if (wanted) tokens += tokenizer.encode(text).length;
    return wanted;
  });
}

/** What `slayer perplexity` makes of the same documents. */
function heldOutText(documents: readonly string[], tokenizer: Tokenizer): HeldOutText {
  return {
    ids: Int32Array.from(documents.flatMap((text) => [...tokenizer.encode(text)])),
    bytes: documents.reduce((sum, text) => sum + Buffer.byteLength(text), 0),
  };
}
