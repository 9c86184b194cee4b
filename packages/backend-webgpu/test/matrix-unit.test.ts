import { expect, it } from "vitest";
import { matrixUnitOf } from "../src/matrix-unit.js";

const config = (componentType: string, resultComponentType: string, M: number, N: number, K: number) => ({
  componentType,
  resultComponentType,
  M,
  N,
  K,
});

const info = (subgroupMaxSize: number, subgroupMatrixConfigs?: unknown) =>
  ({ subgroupMaxSize, subgroupMatrixConfigs }) as unknown as GPUAdapterInfo;

const experimental = new Set(["subgroups", "chromium-experimental-subgroup-matrix"]);

it("takes a unit of f32 where there is one, and one of f16 only if products may be rounded", () => {
  const both = info(32, [config("f16", "f32", 16, 16, 16), config("f32", "f32", 8, 8, 8)]);
  expect(matrixUnitOf(both, experimental, true)).toEqual({
    m: 8,
    n: 8,
    k: 8,
    half: false,
    lanes: 32,
    feature: "chromium-experimental-subgroup-matrix",
  });
  const halves = info(32, [config("f16", "f16", 16, 16, 16), config("f16", "f32", 16, 8, 16)]);
  expect(matrixUnitOf(halves, experimental, false)).toBeUndefined();
  expect(matrixUnitOf(halves, experimental, true)).toMatchObject({ m: 16, n: 8, k: 16, half: true });
});

it("takes none that sums in f16, has sizes that do not fit, or is not there", () => {
  const unfit = [
    config("f16", "f16", 16, 16, 16),
    config("u8", "u32", 16, 16, 32),
    config("f32", "f32", 12, 8, 8),
    config("f32", "f32", 8, 8, 32),
  ];
  expect(matrixUnitOf(info(32, unfit), experimental, true)).toBeUndefined();
  const fit = [config("f32", "f32", 8, 8, 8)];
  expect(matrixUnitOf(info(128, fit), experimental, true)).toBeUndefined();
  expect(matrixUnitOf(info(32, fit), new Set(["subgroups"]), true)).toBeUndefined();
  expect(matrixUnitOf(info(32), experimental, true)).toBeUndefined();
});

it("takes the feature by its final name where it has both", () => {
  const fit = info(64, [config("f32", "f32", 8, 8, 8)]);
  expect(matrixUnitOf(fit, new Set([...experimental, "subgroup-matrix"]), false)?.feature).toBe("subgroup-matrix");
});
