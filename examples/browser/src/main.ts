import { chosenFiles, parameterCount } from "@slayer/checkpoint";
import { openBackend } from "./backend.js";
import { Chart } from "./charts.js";
import { Model } from "./model.js";
import { exampleText } from "./text.js";

const element = (id: string) => document.querySelector<HTMLElement>(`#${id}`)!;
const input = (id: string) => document.querySelector<HTMLInputElement>(`#${id}`)!;
const buttonOf = (id: string) => document.querySelector<HTMLButtonElement>(`#${id}`)!;
const status = element("status");

/** The number in a field, within the field's own limits. */
function numberIn(id: string): number {
  const field = input(id);
  if (!field.checkValidity() || field.value === "") {
    const range = (field.min && ` from ${field.min}`) + (field.max && ` to ${field.max}`);
    throw new RangeError(`${field.labels![0]!.textContent.trim()}: expected a number${range}`);
  }
  return field.valueAsNumber;
}

const buttons = ["measure", "train", "generate"].map(buttonOf);

input("text").value = exampleText;
const distances = new Chart(element("distances"), "bar", { x: "block", y: "angular distance / π", from: 0 });
const losses = new Chart(element("losses"), "line", { x: "step", y: "loss", from: 1 });
const curve: number[] = [];

const { backend, words } = await openBackend();
status.textContent = words;
input("files").disabled = false;
let model: Model | undefined;
/** The work that goes on, to be stopped by the button that began it. */
let running: AbortController | undefined;

/** Does one piece of work at a time; says what went wrong. */
async function work(title: string, task: (signal: AbortSignal) => Promise<void>, button?: HTMLButtonElement) {
  const caption = button?.textContent ?? "";
  running = new AbortController();
  for (const other of buttons) other.disabled = other !== button;
  input("files").disabled = true;
  if (button) button.textContent = "Stop";
  status.classList.remove("error");
  status.textContent = `${title}…`;
  try {
    await task(running.signal);
    status.textContent = words;
  } catch (error) {
    const stopped = running.signal.aborted;
    status.classList.toggle("error", !stopped);
    status.textContent = stopped ? words : (error as Error).message;
  } finally {
    running = undefined;
    if (button) button.textContent = caption;
    for (const other of buttons) other.disabled = model === undefined;
    input("files").disabled = false;
  }
}

/** A button begins its work, and stops it. */
function onClick(id: string, title: string, task: (model: Model, signal: AbortSignal) => Promise<void>) {
  const button = buttonOf(id);
  button.addEventListener("click", () => {
    if (running) running.abort();
    else if (model) {
      const chosen = model;
      void work(title, (signal) => task(chosen, signal), button);
    }
  });
}

input("files").addEventListener("change", () => {
  void work("Reading the checkpoint", async () => {
    model?.free();
    model = undefined;
    element("facts").replaceChildren();
    // A directory comes with all that lies below it; the checkpoint is what lies in it.
    const files = [...input("files").files!].filter((file) => file.webkitRelativePath.split("/").length === 2);
    const dir = files[0]?.webkitRelativePath.split("/")[0] ?? "the directory";
    const opened = await Model.open(chosenFiles(files, dir), backend, (share) => {
      status.textContent = `Reading the checkpoint: ${Math.round(100 * share)} %`;
    });
    model = opened;
    showFacts(dir, opened);
    curve.length = 0;
    losses.show(curve);
    distances.show([]);
    element("output").textContent = "";
  });
});

function showFacts(dir: string, { config }: Model) {
  const facts = {
    model: `${dir}, ${config.family}`,
    parameters: parameterCount(config).total.toLocaleString("en"),
    blocks: `${config.blocks}, each ${config.hiddenSize} wide, ${config.heads} heads`,
  };
  const pairs = Object.entries(facts).flatMap(([term, fact]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    [dt.textContent, dd.textContent] = [term, fact];
    return [dt, dd];
  });
  element("facts").replaceChildren(...pairs);
}

onClick("measure", "Measuring", async (model) => {
  const { blocks } = await model.distances(input("text").value);
  distances.show(blocks.map(({ value }) => value));
});

onClick("train", "Training", async (model, signal) => {
  const steps = model.train(input("text").value, numberIn("steps"), numberIn("rate"), signal);
  for await (const loss of steps) {
    curve.push(loss);
    losses.show(curve);
  }
});

onClick("generate", "Generating", async (model, signal) => {
  const prompt = input("prompt").value;
  const output = element("output");
  output.replaceChildren(document.createElement("strong"), "");
  output.firstChild!.textContent = prompt;
  for await (const text of model.continue(prompt, numberIn("tokens"), signal)) {
    output.lastChild!.textContent += text;
  }
});
