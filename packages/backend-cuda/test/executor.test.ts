import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { driver, missing, note } from "./support/host.js";

const program = fileURLToPath(new URL("../build/Release/check_executor", import.meta.url));
const absent = missing !== undefined || !existsSync(program);

/** What kernels/cuda-host/check prints: per check what the launch reported, or by how much its values are off. */
const got: Record<string, string> = absent
  ? {}
  : Object.fromEntries(
      execFileSync(program, [driver], { encoding: "utf8" })
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { name: string; got: string })
        .map((check) => [check.name, check.got]),
    );

describe.skipIf(absent)(`the executor that runs CUDA kernels on the host${note}`, () => {
  it.each(["neighbours", "neighbours_in_warp", "votes", "product", "product, B transposed", "gram"])(
    "%s: barriers, votes, shuffles, copies, ldmatrix and mma fragments give the exact values",
    (name) => {
      expect(got[name]).toBe("0.000000");
    },
  );

  it.each(["pipeline_nn", "pipeline_nt", "pipeline_tn", "pipeline_tt", "registers", "pair", "pair, backwards"])(
    "%s: Hopper's barriers, copies of boxes and products of tiles give the exact values",
    (name) => {
      expect(got[name]).toBe("0.000000");
    },
  );

  it.each([
    ["tile not waited for", /read of shared memory that (nobody has written|an asynchronous copy is filling)/],
    ["products not waited for", /returns with products not waited for/],
    ["stage freed early", /write to shared memory that a product reads, not yet waited for/],
    ["sums read early", /^-?nan$/],
    ["fewer arrivals", /128 of block 0 at the one at byte 32768 where 1 of 2 arrivals and 0 bytes are missing/],
    ["wrong bytes", /copies bring 16384 bytes to a barrier where 16256 were announced/],
    ["barrier made twice", /the barrier at byte 32768 is made again/],
    ["barrier not made", /the barrier at byte 32768, which nobody has made/],
    ["box not aligned", /a copy of a swizzled box to byte 128, not a multiple of 1024/],
    ["a warp less", /the warps of warpgroup 0 multiply different tiles/],
    ["products not begun", /a product before begin_products/],
    ["barrier not ordered", /with no barrier of the block since it was made/],
    ["bytes left", /the block returns while 16 bytes may still come to the barrier at byte 32768/],
    ["writes not fenced", /a product reads what thread 0 wrote, which fenced nothing since/],
    ["registers reused", /^[1-9]/],
    ["returns early", /of block 1 of its cluster, which has returned/],
    ["more arrivals", /arrives at .*, made for 3, when nobody has waited for the phase before/],
    ["barrier not fenced", /a copy for the barrier at byte 24576, which its maker has not fenced/],
    ["products begun too early", /a product before begin_products/],
    ["barrier of the pair not ordered", /with no barrier of the cluster since it was made/],
    ["half a cluster", /a grid that is not a multiple of its cluster of 2/],
  ])("on Hopper, %s is found", (name, message) => {
    expect(got[name]).toMatch(message);
  });

  it("tensor maps are made, or refused with the code of an invalid value (1); what the host has not, as not supported (801)", () => {
    const maps = Object.entries(got).filter(([name]) => name.startsWith("tensor map"));
    const codes = Object.fromEntries(maps.map(([name, code]) => [name.replace(/^tensor map:? ?/, ""), code]));
    const invalid = [
      "address",
      "its own address",
      "stride",
      "extent",
      "large box",
      "wide box",
      "no box",
      "element stride",
      "rank",
    ];
    expect(codes).toEqual({
      "": "0",
      ...Object.fromEntries(invalid.map((name) => [name, "1"])),
      "another type": "801",
    });
  });

  it.each([
    ["neighbours_without_barrier", /read of shared memory that (thread \d+ wrote, with no barrier|nobody has written)/],
    ["neighbours_across_warps", /read of shared memory that (thread \d+ wrote, with no barrier|nobody has written)/],
    ["overwritten_while_read", /(write to shared memory that another thread reads|read of .* wrote), with no barrier/],
    ["never_written", /read of shared memory that nobody has written, byte 0, thread 0/],
    ["beyond_shared_memory", /write of 4 bytes at 16384 of 16384 bytes of shared memory/],
    ["barrier_in_a_branch", /64 threads wait for others that never come \(63 of them at the block's barrier\)/],
    ["copy_not_waited_for", /read of shared memory that an asynchronous copy is filling/],
    ["copy_without_barrier", /read of shared memory that thread 0 wrote, with no barrier between/],
    ["copy_not_aligned", /an asynchronous copy that is not aligned/],
    ["more threads than declared", /64 threads, declared for 32/],
    ["no such kernel", /there is no kernel nothing/],
  ])("%s is reported", (name, message) => {
    expect(got[name]).toMatch(message);
  });
});
