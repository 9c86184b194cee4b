import { expect, test } from "vitest";
import * as checkpoint from "@slayer/checkpoint";
import * as surgery from "@slayer/surgery";
import { fuzz } from "../tools/fuzz/fuzz.mjs";

test("200 changed files for every reader: each is read, or refused with an error made for users", async () => {
  const { runs, findings } = await fuzz({ checkpoint, surgery }, { seed: 20_261_126, runs: 200 });
  expect(findings).toEqual([]);
  // Inputs that none accepts, or all, would try little.
  for (const [target, { accepted, refused }] of Object.entries(runs)) {
    expect(accepted, target).toBeGreaterThan(0);
    expect(refused, target).toBeGreaterThan(accepted);
  }
});
