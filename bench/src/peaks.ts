import { median, quantile, spread } from "./statistics.js";

/** What a machine can do at most, by measurement. */
export interface Peaks {
  /** Floating-point operations per second. */
  readonly flops: number;
  /** Bytes per second, read and written ones both counted. */
  readonly bandwidth: number;
  /** How it was measured. */
  readonly method: string;
  /** Single measurements with their median and spread, where there are several. */
  readonly details?: readonly (Rate & { readonly name: string; readonly what: "flops" | "bandwidth" })[];
}

interface Rate {
  readonly median: number;
  /** Interquartile range over the median. */
  readonly spread: number;
  /** Exceeded by a tenth of the samples: a single one may be a slip of the clock. */
  readonly best: number;
}

/** What samples of a rate say. */
export function rate(samples: readonly number[]): Rate {
  return { median: median(samples), spread: spread(samples), best: quantile(samples, 0.9) };
}

const REPEATS = 7;
const COPY_BYTES = 2 ** 26; // several times any cache

/** Peaks of scalar JavaScript on one core: the roof of backends written in it. Takes about two seconds. */
export function measureJavaScriptPeaks(): Peaks {
  return {
    flops: best(() => multiplyAdd(20_000_000)),
    bandwidth: copyBandwidth(),
    method:
      "one core, plain JavaScript: twelve independent f64 multiply-add chains, and TypedArray.set over 64 MiB; best of 7",
  };
}

function best(rate: () => number): number {
  rate(); // compiled by the time it counts
  return Math.max(...Array.from({ length: REPEATS }, rate));
}

function copyBandwidth(): number {
  const from = new Float32Array(COPY_BYTES / 4).fill(1);
  const to = new Float32Array(COPY_BYTES / 4);
  return best(() => {
    const start = performance.now();
    to.set(from);
    return (2 * COPY_BYTES) / ((performance.now() - start) / 1000);
  });
}

/** FLOP/s of `rounds` rounds of twelve multiply-adds, enough of them to hide each other's latency. */
function multiplyAdd(rounds: number): number {
  let [a, b, c, d, e, f] = [1, 2, 3, 4, 5, 6];
  let [g, h, i, j, k, l] = [7, 8, 9, 10, 11, 12];
  const [x, y] = [0.999, 0.001]; // each chain tends to 1
  const start = performance.now();
  for (let n = 0; n < rounds; n++) {
    a = a * x + y;
    b = b * x + y;
    c = c * x + y;
    d = d * x + y;
    e = e * x + y;
    f = f * x + y;
    g = g * x + y;
    h = h * x + y;
    i = i * x + y;
    j = j * x + y;
    k = k * x + y;
    l = l * x + y;
  }
  const seconds = (performance.now() - start) / 1000;
  const total = a + b + c + d + e + f + g + h + i + j + k + l;
  if (!Number.isFinite(total)) throw new Error("the chains diverged"); // and the loop cannot be optimised away
  return (24 * rounds) / seconds;
}
