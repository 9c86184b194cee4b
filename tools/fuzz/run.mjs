// Fuzzes the readers of untrusted files:
//
//   node tools/fuzz/run.mjs [--seconds 600] [--seed 1] [--target safetensors] [--runs N]
//
// Prints counts and findings as JSON, and exits 1 if there are any; `--seed S --runs 1 --target T` repeats one.
// Needs the built packages (pnpm build).
import { parseArgs } from "node:util";
import * as checkpoint from "../../packages/checkpoint/dist/index.js";
import * as surgery from "../../packages/surgery/dist/index.js";
import { fuzz } from "./fuzz.mjs";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "600" },
    seed: { type: "string", default: "1" },
    runs: { type: "string", default: "Infinity" },
    target: { type: "string" },
  },
});
const started = performance.now();
const result = await fuzz(
  { checkpoint, surgery },
  {
    seed: Number(values.seed),
    seconds: Number(values.seconds),
    runs: Number(values.runs),
    ...(values.target === undefined ? {} : { only: values.target }),
  },
);
const seconds = Math.round((performance.now() - started) / 1000);
const peakMiB = Math.round(process.resourceUsage().maxRSS / 1024);
console.log(JSON.stringify({ ...result, seconds, peakMiB }, null, 2));
process.exitCode = result.findings.length === 0 ? 0 : 1;
