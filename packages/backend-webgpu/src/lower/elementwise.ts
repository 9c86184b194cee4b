import { type Attrs, size } from "@slayer/tensor";
import addKernel from "../../../../kernels/add/add.wgsl";
import addBiasKernel from "../../../../kernels/add-bias/add_bias.wgsl";
import adamwKernel from "../../../../kernels/optimizer/adamw.wgsl";
import accumulateKernel from "../../../../kernels/state/accumulate.wgsl";
import broadcastKernel from "../../../../kernels/sum/broadcast.wgsl";
import fillKernel from "../../../../kernels/sum/fill.wgsl";
import swigluKernel from "../../../../kernels/swiglu/swiglu.wgsl";
import swigluBackwardKernel from "../../../../kernels/swiglu/swiglu_backward.wgsl";
import copyKernel from "../../../../kernels/webgpu/copy.wgsl";
import narrowKernel from "../../../../kernels/webgpu/narrow.wgsl";
import widenKernel from "../../../../kernels/webgpu/widen.wgsl";
import { type DeviceTraits, type Dispatch, Lowering, type Range } from "../lowering.js";

export const number = (attrs: Attrs, name: string): number => Number(attrs[name]);

export function lowerAdd(lowering: Lowering): void {
  const count = size(lowering.kernel.outputs[0]!.shape);
  lowering.elementwise(addKernel, count, [lowering.input(0), lowering.input(1), lowering.output(0)]);
}

export function lowerAddBias(lowering: Lowering): void {
  const [x, b] = lowering.kernel.inputs;
  lowering.elementwise(addBiasKernel, size(x!.shape), [lowering.input(0), lowering.output(0)], {
    whole: [lowering.input(1)],
    period: { name: "columns", length: size(b!.shape) },
  });
}

export function lowerSwiglu(lowering: Lowering): void {
  const count = size(lowering.kernel.outputs[0]!.shape);
  lowering.elementwise(swigluKernel, count, [lowering.input(0), lowering.input(1), lowering.output(0)]);
}

export function lowerSwigluBackward(lowering: Lowering): void {
  const operands = [0, 1, 2].map((i) => lowering.input(i));
  const count = size(lowering.kernel.outputs[0]!.shape);
  lowering.elementwise(swigluBackwardKernel, count, [...operands, lowering.output(0), lowering.output(1)]);
}

export function lowerAccumulate(lowering: Lowering): void {
  const count = size(lowering.kernel.inputs[0]!.shape);
  lowering.elementwise(accumulateKernel, count, [lowering.input(0), lowering.input(1)]);
}

/** Sets a range of f32 to a constant. */
export function fillRange(lowering: Lowering, range: Range, constant: number): void {
  lowering.elementwise(fillKernel, range.bytes / 4, [range], { params: { constant } });
}

/** Zero bits are zero in every type; the half word after an odd number of bf16 is padding. */
export function lowerClear(lowering: Lowering): void {
  const { of, index, offset, bytes } = lowering.stored("input", 0);
  fillRange(lowering, { of, index, offset, bytes: Math.ceil(bytes / 4) * 4 }, 0);
}

export function lowerCopy(lowering: Lowering): void {
  const [to, from] = [lowering.stored("input", 0), lowering.stored("input", 1)];
  if (to.half && !from.half) lowering.convert(narrowKernel, from, to);
  else if (from.half && !to.half) lowering.convert(widenKernel, from, to);
  else if (to.half) copyHalves(lowering, from, to);
  else lowering.elementwise(copyKernel, to.bytes / 4, [from, to]);
}

/** By way of f32, so that the half word after an odd number of elements stays as it is. */
function copyHalves(lowering: Lowering, from: Range, to: Range): void {
  const wide = lowering.scratch(2 * from.bytes);
  lowering.convert(widenKernel, from, wide);
  lowering.convert(narrowKernel, wide, to);
}

export function lowerFill(lowering: Lowering): void {
  fillRange(lowering, lowering.output(0), number(lowering.kernel.attrs, "value"));
}

export function lowerBroadcast(lowering: Lowering): void {
  const count = size(lowering.kernel.outputs[0]!.shape);
  lowering.elementwise(broadcastKernel, count, [lowering.output(0)], { whole: [lowering.input(0)] });
}

export function lowerAdamw(lowering: Lowering): void {
  const { attrs, inputs } = lowering.kernel;
  const [beta1, beta2] = [number(attrs, "beta1"), number(attrs, "beta2")];
  lowering.elementwise(
    adamwKernel,
    size(inputs[0]!.shape),
    [0, 1, 2, 3].map((i) => lowering.input(i)),
    {
      whole: [lowering.input(4), lowering.input(5)],
      params: {
        beta1,
        rest1: 1 - beta1,
        beta2,
        rest2: 1 - beta2,
        eps: number(attrs, "eps"),
        decay: number(attrs, "weightDecay"),
      },
    },
  );
  if (inputs[6]) lowering.convert(narrowKernel, lowering.input(0), lowering.stored("input", 6));
}

/** Dispatches that copy `from` to `to`. */
export function copyDispatches(device: DeviceTraits, from: Range, to: Range): Dispatch[] {
  const lowering = new Lowering({ op: "add", attrs: {}, inputs: [], outputs: [] }, device);
  lowering.elementwise(copyKernel, from.bytes / 4, [from, to]);
  return lowering.dispatches;
}
