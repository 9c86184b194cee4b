import { inferOutputs, type KernelCase, makeInputs } from "@slayer/kernels";
import {
  type Backend,
  type Cost,
  definitionOf,
  Graph,
  Program,
  Store,
  type Tensor,
  type TypedArray,
} from "@slayer/tensor";
import Benchmark from "benchmark";

/** A case made ready on a backend. */
export interface Prepared {
  readonly cost: Cost;
  run(): Promise<void>;
  free(): void;
}

/** Seconds per run, one number per sample. */
export type Sample = readonly number[];

/** A case as a program of one step: floats in persistent memory, integers as inputs. */
export async function prepare(backend: Backend, kernelCase: KernelCase): Promise<Prepared | { unsupported: string }> {
  const { op, attrs, inputs } = kernelCase;
  const answer = backend.supports({ op, attrs, inputs, outputs: inferOutputs(op, attrs, inputs) });
  if (answer !== true) return { unsupported: answer };
  const values = makeInputs(kernelCase);
  const graph = new Graph();
  const store = new Store(backend);
  const given: Record<string, TypedArray> = {};
  const operands: Tensor[] = [];
  for (const [i, { shape, dtype }] of inputs.entries()) {
    const name = `operand ${i}`;
    if (dtype === "i32") {
      operands.push(graph.input(name, shape, dtype));
      given[name] = values[i]!;
    } else {
      operands.push(graph.state(name, shape, dtype));
      store.add({ name, shape, dtype });
      await store.write(name, values[i]!);
    }
  }
  const outputs = graph.apply(op, operands, attrs);
  const program = await Program.compile(graph, Object.fromEntries(outputs.map((t, i) => [`output ${i}`, t])), store);
  await program.run(given);
  return {
    cost: definitionOf(op).cost(operands, outputs, attrs),
    run: () => program.run(),
    free() {
      program.free();
      store.free();
    },
  };
}

// Otherwise Benchmark pastes the source of the function into one of its own, where no closure is visible.
Benchmark.support.decompilation = false;

/** Samples `run` for about `seconds`, and at least `minSamples` times; each sample takes 50 ms or more. */
export function sample(run: () => Promise<void>, seconds: number, minSamples = 5): Promise<Sample> {
  return new Promise((resolve, reject) => {
    const benchmark = new Benchmark({
      defer: true,
      maxTime: seconds,
      minSamples,
      fn(deferred: Benchmark.Deferred) {
        run().then(
          () => deferred.resolve(),
          (error: unknown) => {
            reject(error instanceof Error ? error : new Error(String(error)));
            benchmark.abort();
          },
        );
      },
      onComplete: () => resolve(benchmark.stats.sample as number[]),
      onError: () => reject(benchmark.error),
    });
    benchmark.run({ async: true });
  });
}
