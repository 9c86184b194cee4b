import { measureCudaPeaks } from "@slayer/backend-cuda";
import { describe, expect, it } from "vitest";
import { hostEnvironment, missing, note } from "./support/host.js";

describe.skipIf(missing !== undefined)(`peaks${note}`, () => {
  it("are rates of what runs, seven of each; without a device they are not there", async () => {
    Object.assign(process.env, hostEnvironment());
    const { flops, bandwidth } = await measureCudaPeaks({}, 2 ** 14);
    for (const rates of [flops, bandwidth]) {
      expect(rates).toHaveLength(7);
      for (const rate of rates) expect(rate).toBeGreaterThan(1e4);
    }
    await expect(measureCudaPeaks({ device: 99 })).rejects.toMatchObject({ reason: "no-device" });
  });
});
