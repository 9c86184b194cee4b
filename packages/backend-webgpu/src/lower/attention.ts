import attentionKernel from "../../../../kernels/attention/attention.wgsl";
import decodeKernel from "../../../../kernels/attention/attention_decode.wgsl";
import keyKernel from "../../../../kernels/attention/attention_backward_key.wgsl";
import queryKernel from "../../../../kernels/attention/attention_backward_query.wgsl";
import statsKernel from "../../../../kernels/attention/attention_stats.wgsl";
import { type Lowering, part, type Range } from "../lowering.js";
import { number } from "./elementwise.js";

/** Sizes of an attention op, and how a head lies in registers. */
function sizesOf(lowering: Lowering, q: number) {
  const { attrs, inputs } = lowering.kernel;
  const [sequences, queries, width] = inputs[q]!.shape as [number, number, number];
  const keys = inputs[q + 1]!.shape[1]!;
  const heads = number(attrs, "heads");
  const headSize = width / heads;
  const vectors = headSize % 4 === 0;
  const values = vectors ? headSize / 4 : headSize;
  const WORKGROUP = lowering.workgroup(64);
  return {
    sequences,
    queries,
    keys,
    heads,
    kvHeads: number(attrs, "kvHeads"),
    window: number(attrs, "window"),
    scale: number(attrs, "scale"),
    values,
    flags: [
      vectors ? "VEC4" : "",
      lowering.device.software ? "ROLLED" : "",
      attrs.segments ? "SEGMENTS" : "",
      attrs.offset ? "OFFSET" : "",
    ].filter(Boolean),
    constants: { N: lowering.device.software ? roomFor(values) : values, WORKGROUP },
    blocks: Math.ceil(queries / WORKGROUP),
  };
}

/** Fewer queries than this leave most threads of a workgroup idle, if each owns one. */
const FEW_QUERIES = 16;

/** On the processor one pipeline serves all common sizes of heads: what is compiled for the processor compiles slowly. */
const roomFor = (values: number) => Math.max(32, 2 ** Math.ceil(Math.log2(values)));

/** Calls `body` with as many whole sequences as fit a binding each time, and how to take their part of a large operand. */
function bySequences(
  lowering: Lowering,
  sequences: number,
  wordsPerSequence: number,
  body: (first: number, count: number, of: (range: Range) => Range) => void,
): void {
  const most = Math.max(1, Math.floor(lowering.device.bindingBytes / 4 / wordsPerSequence));
  for (let first = 0; first < sequences; first += most) {
    const count = Math.min(most, sequences - first);
    body(first, count, (range) => {
      const each = range.bytes / 4 / sequences;
      return count === sequences ? range : part(range, first * each, count * each);
    });
  }
}

export function lowerAttention(lowering: Lowering): void {
  const { queries, keys, heads, kvHeads, window, scale, values, sequences, blocks, flags, constants } = sizesOf(
    lowering,
    0,
  );
  const [q, k, v] = [lowering.input(0), lowering.input(1), lowering.input(2)];
  const [o, lse] = [lowering.output(0), lowering.output(1)];
  const extra = lowering.kernel.inputs.length > 3 ? [lowering.input(3)] : [];
  const largest = Math.max(q.bytes, k.bytes) / 4 / sequences;
  const decoding = queries < FEW_QUERIES && !lowering.kernel.attrs.segments && values <= constants.WORKGROUP;
  bySequences(lowering, sequences, largest, (first, count, of) => {
    lowering.emit(decoding ? decodeKernel : attentionKernel, {
      flags,
      constants,
      params: { queries, keys, heads, kv_heads: kvHeads, window, scale, values, first_sequence: first },
      ranges: [...[q, k, v, o].map(of), lse, ...extra],
      groups: decoding ? [heads, queries, count] : [blocks, heads, count],
    });
  });
}

export function lowerAttentionBackward(lowering: Lowering): void {
  const { queries, heads, kvHeads, window, scale, values, sequences, blocks, flags, constants } = sizesOf(lowering, 1);
  const [dout, q, k, v, o, lse] = [0, 1, 2, 3, 4, 5].map((i) => lowering.input(i)) as [
    Range,
    Range,
    Range,
    Range,
    Range,
    Range,
  ];
  const [dq, dk, dv] = [lowering.output(0), lowering.output(1), lowering.output(2)];
  const extra = lowering.kernel.attrs.segments ? [lowering.input(6)] : [];
  const stats = lowering.scratch(2 * lse.bytes);
  bySequences(lowering, sequences, q.bytes / 4 / sequences, (first, sequenceCount, of) => {
    const params = { queries, keys: queries, heads, kv_heads: kvHeads, window, scale, values, first_sequence: first };
    const count = (sequenceCount * lse.bytes) / 4 / sequences;
    lowering.emit(statsKernel, {
      flags,
      constants,
      params: { queries, heads, count, values, first_sequence: first },
      ranges: [of(dout), of(o), lse, stats],
      groups: lowering.grid(Math.ceil(count / constants.WORKGROUP)),
    });
    lowering.emit(queryKernel, {
      flags,
      constants,
      params,
      ranges: [...[dout, q, k, v].map(of), stats, of(dq), ...extra],
      groups: [blocks, heads, sequenceCount],
    });
    lowering.emit(keyKernel, {
      flags,
      constants,
      params,
      ranges: [...[dout, q, k, v].map(of), stats, of(dk), of(dv), ...extra],
      groups: [blocks, kvHeads, sequenceCount],
    });
  });
}
