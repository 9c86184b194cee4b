import { accumulatorOf } from "../dtype.js";
import type { Tensor } from "../graph.js";
import { elementwiseCost, type OpDefinition } from "../op.js";
import { columns, expectShape, rows, size } from "../shape.js";

/**
 * Rotary position embedding (Su et al. 2021) in the half-split layout of Llama checkpoints: in each head of size E, the
 * pair (x_i, x_{i+E/2}) is rotated by the angle position·frequency_i.
 * x [B, T, H·E], positions i32 [B, T], frequencies [E/2] (f32 for bf16). Its gradient is the inverse rotation.
 */
export function rope(x: Tensor, positions: Tensor, frequencies: Tensor, inverse = false): Tensor {
  return x.graph.apply("rope", [x, positions, frequencies], { inverse })[0]!;
}

export const ropeOp: OpDefinition = {
  infer([x, positions, frequencies]) {
    const ok =
      rows(x!.shape) === size(positions!.shape) &&
      positions!.dtype === "i32" &&
      frequencies!.dtype === accumulatorOf(x!.dtype) &&
      columns(x!.shape) % (2 * size(frequencies!.shape)) === 0;
    expectShape(ok, "rope", "x [B,T,H·E], positions i32 [B,T], frequencies [E/2]", x!, positions!, frequencies!);
    return [{ shape: x!.shape, dtype: x!.dtype }];
  },
  cost: ([x, p, f], [y]) => elementwiseCost(3, x!, [x!, p!, f!, y!]),
  gradient: ({ attrs, input, outputGradient, needs }) => [
    needs(0) ? rope(outputGradient(0), input(1), input(2), !attrs.inverse) : undefined,
    undefined,
    undefined,
  ],
  reference([x, positions, frequencies], [y], { inverse }) {
    const half = frequencies!.data.length;
    const width = columns(x!.shape);
    const cos = new Float64Array(half);
    const sin = new Float64Array(half);
    for (let t = 0; t < positions!.data.length; t++) {
      for (let i = 0; i < half; i++) {
        const angle = positions!.data[t]! * frequencies!.data[i]!;
        cos[i] = Math.cos(angle);
        sin[i] = inverse ? -Math.sin(angle) : Math.sin(angle);
      }
      for (let head = t * width; head < (t + 1) * width; head += 2 * half) {
        for (let i = 0; i < half; i++) {
          const a = x!.data[head + i]!;
          const b = x!.data[head + half + i]!;
          y!.data[head + i] = a * cos[i]! - b * sin[i]!;
          y!.data[head + half + i] = b * cos[i]! + a * sin[i]!;
        }
      }
    }
  },
};
