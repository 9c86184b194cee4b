import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { missing, note } from "./support/host.js";

const program = fileURLToPath(new URL("../build/Release/check_executor", import.meta.url));
const absent = missing !== undefined || !existsSync(program);

/** What kernels/cuda-host/check prints: per check what the launch reported, or by how much its values are off. */
const got: Record<string, string> = absent
  ? {}
  : Object.fromEntries(
      execFileSync(program, { encoding: "utf8" })
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
