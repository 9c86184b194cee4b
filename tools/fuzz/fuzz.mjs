// The loop: inputs from a seed, a reader, and what counts as a finding.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomFrom } from "./mutate.mjs";
import { targetsIn } from "./targets.mjs";

/** Processor time that no input may take; the longest, a million brackets in one another, have two megabytes. */
const slowMs = 2000;

/**
 * @typedef {object} Finding
 * @property {string} target
 * @property {number} seed makes the input again
 * @property {string} problem
 */

/**
 * Feeds every target until each had `runs` inputs or `seconds` are over. A reader may return, or throw an error made for users;
 * anything else, and an input that takes seconds of processor time, is a finding.
 *
 * @param {Parameters<typeof targetsIn>[0]} libraries
 * @param {{ seed: number, runs?: number, seconds?: number, only?: string }} options
 * @returns {Promise<{ runs: Record<string, { accepted: number, refused: number }>, findings: Finding[] }>}
 */
export async function fuzz(libraries, { seed, runs = Infinity, seconds = Infinity, only }) {
  const dir = mkdtempSync(join(tmpdir(), "fuzz-"));
  const userErrors = [libraries.checkpoint.CheckpointError, libraries.surgery.PlanError];
  const targets = targetsIn(libraries, dir).filter(({ name }) => only === undefined || name === only);
  /** @type {Record<string, { accepted: number, refused: number }>} */
  const counts = Object.fromEntries(targets.map(({ name }) => [name, { accepted: 0, refused: 0 }]));
  /** @type {Finding[]} */
  const findings = [];
  const end = performance.now() + 1000 * seconds;
  try {
    for (let run = 0; run < runs && performance.now() < end && findings.length < 20; run += 1) {
      for (const { name, input, read } of targets) {
        const count = counts[name];
        const bytes = input(randomFrom(seed + run));
        const started = process.cpuUsage();
        try {
          await read(bytes);
          count.accepted += 1;
        } catch (error) {
          count.refused += 1;
          const known = userErrors.some((type) => error instanceof type);
          if (!known)
            findings.push({
              target: name,
              seed: seed + run,
              problem: error instanceof Error ? (error.stack ?? "") : String(error),
            });
        }
        const { user, system } = process.cpuUsage(started);
        const ms = (user + system) / 1000;
        if (ms > slowMs)
          findings.push({ target: name, seed: seed + run, problem: `took ${Math.round(ms)} ms of processor time` });
      }
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return { runs: counts, findings };
}
