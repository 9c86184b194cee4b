import { openAsBlob } from "node:fs";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Checkpoint, chosenFiles } from "@slayer/checkpoint";
import { Tokenizer } from "@slayer/data";
import { perplexity } from "@slayer/eval";
import { loadWeights } from "@slayer/model";
import { createReferenceBackend, Store } from "@slayer/tensor";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { Model } from "../src/model.js";
import { exampleText } from "../src/text.js";
import { executable, openSite, type Site } from "./support/chromium.js";

const STEPS = 12;
const RATE = 0.003;
const TOKENS = 16;
const PROMPT = "The first blocks";
const missing = executable === undefined ? ": left out, there is no Chromium on the path and none in $CHROMIUM" : "";

if (missing !== "") console.warn(`tests in headless Chromium${missing}`);

/** Pictures of what was tested, to be looked at. */
const pictures = fileURLToPath(new URL("../out/", import.meta.url));

describe.skipIf(missing !== "")(`in headless Chromium${missing}`, () => {
  let site: Site;
  let folder: string;
  let checkpoint: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "slayer-page-test-"));
    checkpoint = join(folder, "tiny");
    await writeTinyCheckpoint(checkpoint, { blocks: 6, hiddenSize: 32 });
    await mkdir(pictures, { recursive: true });
    site = await openSite();
  });

  afterAll(async () => {
    await site?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it("the page measures, trains and continues as the reference backend does in Node: distances within 1e-3, losses within 1e-3 relative (f32 sums in another order), the same greedy text", async () => {
    const { page, errors } = await openPage(site, "");
    await page.locator("#files:enabled").waitFor();
    expect(await page.locator("#status").textContent()).toMatch(/^WebGPU: /);
    await page.locator("#files").setInputFiles(checkpoint);
    await page.locator("#measure:enabled").waitFor();
    expect(await page.locator("#facts").textContent()).toContain("tiny, llama");

    await finish(page, "measure");
    const distances = await numbers(page, "distances");
    await page.locator("#steps").fill(String(STEPS));
    await page.locator("#rate").fill(String(RATE));
    await finish(page, "train");
    const losses = await numbers(page, "losses");
    await page.locator("#prompt").fill(PROMPT);
    await page.locator("#tokens").fill(String(TOKENS));
    await finish(page, "generate");
    const text = (await page.locator("#output").textContent())!;
    await page.screenshot({ path: join(pictures, "page.png"), fullPage: true });

    const reference = await referenceRun(checkpoint);
    expect(distances).toHaveLength(6);
    expect(Math.max(...distances.map((d, i) => Math.abs(d - reference.distances[i]!)))).toBeLessThan(1e-3);
    expect(losses).toHaveLength(STEPS);
    expect(Math.abs(losses[0]! / (await firstLoss(checkpoint)) - 1)).toBeLessThan(1e-3);
    expect(Math.max(...losses.map((loss, i) => Math.abs(loss / reference.losses[i]! - 1)))).toBeLessThan(1e-3);
    expect(losses.at(-1)).toBeLessThan(0.95 * losses[0]!);
    expect(text).toBe(PROMPT + reference.text);
    expect(reference.text.length).toBeGreaterThan(10);
    expect(await page.locator("figure svg path").count()).toBeGreaterThan(10);

    await page.locator("#rate").fill("");
    await page.locator("#train").click();
    await page.locator("#status.error", { hasText: "Learning rate: expected a number from 0" }).waitFor();
    await page.locator("#rate").fill(String(RATE));
    await page.locator("#steps").fill("1000");
    await page.locator("#train").click();
    await page.locator("#losses li").nth(STEPS).waitFor({ state: "attached" }); // the next step, while it trains
    await page.locator("#train", { hasText: "Stop" }).click();
    await page.locator("#train", { hasText: "Train" }).waitFor();
    expect((await numbers(page, "losses")).length).toBeLessThan(1000);
    expect(await page.locator("#status").textContent()).toMatch(/^WebGPU: /);
    expect(errors).toEqual([]);
    await page.close();
  });

  it("a directory that is no checkpoint is refused in words", async () => {
    const { page, errors } = await openPage(site, "");
    await page.locator("#files:enabled").waitFor();
    await writeTinyCheckpoint(join(folder, "without"), { tokenizer: null });
    await page.locator("#files").setInputFiles(join(folder, "without"));
    await page.locator("#status.error").waitFor();
    expect(await page.locator("#status").textContent()).toBe(
      "without/tokenizer.json: choose the whole directory of the model",
    );
    expect(await page.locator("#train").isDisabled()).toBe(true);
    expect(errors).toEqual([]);
    await page.close();
  });

  it("the largest conformance case of every op, in f32 and with bf16, passes within its own tolerance of the f64 reference", async () => {
    const { page, errors } = await openPage(site, "conformance.html");
    await page.locator("body[data-done]").waitFor({ timeout: 110_000 });
    const done = JSON.parse((await page.locator("body").getAttribute("data-done"))!) as Record<string, unknown>;
    await page.screenshot({ path: join(pictures, "conformance.png"), fullPage: true });
    expect(await page.locator("tr.failed, tr.unsupported").allTextContents()).toEqual([]);
    expect(done).toEqual({ passed: expect.any(Number), failed: 0, unsupported: 0 });
    expect(done.passed).toBeGreaterThan(40);
    expect(errors).toEqual([]);
    await page.close();
  });
});

async function openPage({ url, browser }: Site, path: string): Promise<{ page: Page; errors: string[] }> {
  const page = await browser.newPage();
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(`${url}/${path}`);
  return { page, errors };
}

/** Clicks a button and waits until what it began has ended well. */
async function finish(page: Page, id: string): Promise<void> {
  const caption = (await page.locator(`#${id}`).textContent())!;
  await page.locator(`#${id}`).click();
  await page.locator(`#${id}`, { hasText: "Stop" }).waitFor();
  await page.locator(`#${id}`, { hasText: caption }).waitFor();
  expect(await page.locator("#status").textContent()).toMatch(/^WebGPU: /);
}

/** The numbers that stand below a chart. */
async function numbers(page: Page, id: string): Promise<number[]> {
  return (await page.locator(`#${id} li`).allTextContents()).map(Number);
}

/** What the first step should find, by the package that evaluates: the mean over the first windows of the text. */
async function firstLoss(dir: string): Promise<number> {
  const checkpoint = await Checkpoint.open(dir);
  const { config } = checkpoint;
  const store = new Store(createReferenceBackend());
  await loadWeights(checkpoint, store);
  await checkpoint.close();
  const ids = (await Tokenizer.load(dir)).encode(exampleText);
  const options = { sequenceLength: 33, bytes: 1 };
  const windows = [0, 32, 64, 96].map((start) => ids.slice(start, start + 33));
  let nats = 0;
  for (const window of windows)
    nats += (await perplexity(config, store, window, options)).nats_per_token / windows.length;
  return nats;
}

/** The same work on the same text, in Node. */
async function referenceRun(dir: string) {
  const backend = createReferenceBackend();
  const names = (await readdir(dir)).filter((name) => /json$|safetensors$/.test(name));
  const files = await Promise.all(
    names.map(async (name) => Object.assign(await openAsBlob(join(dir, name)), { name })),
  );
  const model = await Model.open(chosenFiles(files), backend);
  const { blocks } = await model.distances(exampleText);
  const losses: number[] = [];
  for await (const loss of model.train(exampleText, STEPS, RATE)) losses.push(loss);
  let text = "";
  for await (const piece of model.continue(PROMPT, TOKENS)) text += piece;
  return { distances: blocks.map(({ value }) => value), losses, text };
}
