import { size } from "@slayer/tensor";
import dequantizeKernel from "../../../../kernels/dequantize/dequantize.wgsl";
import embeddingKernel from "../../../../kernels/embedding/embedding.wgsl";
import embeddingBackwardKernel from "../../../../kernels/embedding/embedding_backward.wgsl";
import ropeKernel from "../../../../kernels/rope/rope.wgsl";
import cacheWriteKernel from "../../../../kernels/state/cache_write.wgsl";
import narrowKernel from "../../../../kernels/webgpu/narrow.wgsl";
import { type Lowering, part, type Range } from "../lowering.js";
import { fillRange } from "./elementwise.js";

/** What shaders answer to an id that is none: a quiet NaN's bits, since WGSL has no such literal. */
export const NAN_BITS = 0x7fc00000;
/** Two of them in bf16. */
const NAN_BF16 = 0x7fc07fc0;

export function lowerRope(lowering: Lowering): void {
  const { attrs, inputs } = lowering.kernel;
  const half = size(inputs[2]!.shape);
  const rows = size(inputs[1]!.shape);
  const columns = size(inputs[0]!.shape) / rows;
  const WORKGROUP = lowering.loose;
  lowering.panels(rows, columns, (from, count) => {
    lowering.emit(ropeKernel, {
      constants: { WORKGROUP },
      params: { rows: count, heads: columns / 2 / half, half, sign: attrs.inverse ? -1 : 1 },
      ranges: [
        part(lowering.input(0), from * columns, count * columns),
        part(lowering.input(1), from, count),
        lowering.input(2),
        part(lowering.output(0), from * columns, count * columns),
      ],
      groups: lowering.grid(Math.ceil((count * half) / WORKGROUP)),
    });
  });
}

export function lowerDequantize(lowering: Lowering): void {
  const { attrs, inputs, outputs } = lowering.kernel;
  const [rows, columns] = outputs[0]!.shape as [number, number];
  const [words, groups] = [inputs[0]!.shape[1]!, inputs[1]!.shape[1]!];
  const WORKGROUP = lowering.loose;
  lowering.panels(rows, columns, (from, count) => {
    lowering.emit(dequantizeKernel, {
      flags: attrs.bits === 4 ? ["NF4"] : [],
      constants: { WORKGROUP },
      params: { rows: count, columns, words, groups },
      ranges: [
        part(lowering.input(0), from * words, count * words),
        part(lowering.input(1), from * groups, count * groups),
        part(lowering.output(0), from * columns, count * columns),
      ],
      groups: lowering.grid(Math.ceil((count * words) / WORKGROUP)),
    });
  });
}

/** Panels of y by panels of the table: each dispatch fills in the rows whose ids lie in its part of the table. */
export function lowerEmbedding(lowering: Lowering): void {
  const [table, ids] = [lowering.kernel.inputs[0]!, lowering.kernel.inputs[1]!];
  const width = table.shape.at(-1)!;
  const vocabulary = size(table.shape) / width;
  const [from, to] = [lowering.stored("input", 0), lowering.stored("output", 0)];
  // Rows of bf16 are whole words if they are even; else the table is widened first.
  const packed = from.half && width % 2 === 0;
  const widen = packed && !to.half;
  const [source, target] = packed ? [words(from), words(to)] : [lowering.input(0), lowering.output(0)];
  const [sourceWords, targetWords] = [packed ? width / 2 : width, packed && !widen ? width / 2 : width];
  const vector = !widen && targetWords % 4 === 0 ? 4 : 1;
  const WORKGROUP = lowering.loose;
  lowering.panels(size(ids.shape), targetWords, (first, count) => {
    lowering.panels(vocabulary, sourceWords, (fromRow, rows) => {
      lowering.emit(embeddingKernel, {
        flags: [vector === 4 ? "VEC4" : "", widen ? "WIDEN" : ""],
        constants: { WORKGROUP },
        params: {
          count,
          columns: targetWords / vector,
          from_row: fromRow,
          rows,
          vocabulary,
          nan: packed && !widen ? NAN_BF16 : NAN_BITS,
        },
        ranges: [
          part(source, fromRow * sourceWords, rows * sourceWords),
          part(lowering.input(1), first, count),
          part(target, first * targetWords, count * targetWords),
        ],
        groups: lowering.grid(Math.ceil((count * targetWords) / vector / WORKGROUP)),
      });
    });
  });
}

/** The same memory, seen as words of four bytes. */
function words({ of, index, offset, bytes }: Range): Range {
  return { of, index, offset, bytes };
}

/** Panels of dtable by panels of positions, whose sums are added to what the panels before them left. */
export function lowerEmbeddingBackward(lowering: Lowering): void {
  const { inputs, outputs } = lowering.kernel;
  const [vocabulary, columns] = outputs[0]!.shape as [number, number];
  const [dy, ids, dtable] = [lowering.input(0), lowering.input(1), lowering.output(0)];
  fillRange(lowering, dtable, 0);
  lowering.panels(size(inputs[1]!.shape), columns, (first, count) => {
    lowering.panels(vocabulary, columns, (fromRow, rows) => {
      lowering.emit(embeddingBackwardKernel, {
        constants: { WORKGROUP: lowering.workgroup(64) },
        params: { count, columns, from_row: fromRow, rows },
        ranges: [
          part(dy, first * columns, count * columns),
          part(ids, first, count),
          part(dtable, fromRow * columns, rows * columns),
        ],
        groups: lowering.grid(count),
      });
    });
  });
}

export function lowerCacheWrite(lowering: Lowering): void {
  const [sequences, capacity, width] = lowering.kernel.inputs[0]!.shape as [number, number, number];
  const tokens = lowering.kernel.inputs[1]!.shape[1]!;
  const WORKGROUP = lowering.loose;
  const stored = lowering.stored("input", 0);
  // Rows of bf16 are whole words if they are even; else the cache goes by way of f32.
  const packed = stored.half && width % 2 === 0;
  const [cache, x] = packed
    ? [words(stored), words(lowering.stored("input", 1))]
    : [lowering.input(0), lowering.input(1)];
  const columns = packed ? width / 2 : width;
  const vector = columns % 4 === 0 ? 4 : 1;
  lowering.emit(cacheWriteKernel, {
    flags: vector === 4 ? ["VEC4"] : [],
    constants: { WORKGROUP },
    params: { sequences, tokens, capacity, columns: columns / vector },
    ranges: [cache, x, lowering.input(2)],
    groups: lowering.grid(Math.ceil((sequences * tokens * columns) / vector / WORKGROUP)),
  });
  if (stored.half && !packed) lowering.convert(narrowKernel, cache, stored);
}
