import { readFileSync } from "node:fs";
import type { WebAssemblyApi } from "./webassembly.js";

declare const WebAssembly: WebAssemblyApi;

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly mean: (bytes: number) => void;
}

/** Places of the two operands and of the result in the module's memory, and the most bytes of each. */
const place = { a: 0, b: 65_536, out: 131_072, bytes: 65_536 } as const;

let compiled: { readonly memory: Uint8Array; readonly mean: (bytes: number) => void } | undefined;

/** Beside the sources and beside the build alike. */
function compile(): NonNullable<typeof compiled> {
  const code = readFileSync(new URL("../dist/mean-bf16.wasm", import.meta.url));
  const { memory, mean } = new WebAssembly.Instance(new WebAssembly.Module(code)).exports as unknown as Exports;
  return { memory: new Uint8Array(memory.buffer), mean };
}

/**
 * The mean of two arrays of bfloat16 of equal length, rounded to f32 and then to bfloat16 (`mean-bf16.wat`). By far the
 * most frequent average, and in JavaScript what would take longest of all surgery.
 */
export function meanOfTwoBf16(a: Uint8Array, b: Uint8Array, out: Uint8Array): void {
  compiled ??= compile();
  const { memory, mean } = compiled;
  for (let begin = 0; begin < out.length; begin += place.bytes) {
    const end = Math.min(out.length, begin + place.bytes);
    memory.set(a.subarray(begin, end), place.a);
    memory.set(b.subarray(begin, end), place.b);
    mean(end - begin);
    out.set(memory.subarray(place.out, place.out + end - begin), begin);
  }
}
