/** Milliseconds. */
const LONGEST_NAP = 1;

const { setImmediate } = globalThis as { setImmediate?: (body: () => void) => void };

/**
 * What `pending`, a promise of work on the device, resolves to. Dawn in Node asks after it in every turn of the event loop, without pause:
 * on a core that a device on the processor (`software`) computes with. So each turn then sleeps, for a tenth of the time waited so
 * far and at most 1 ms. Browsers have no setImmediate, and nothing to mend.
 */
export async function workDone<T>(pending: Promise<T>, software: boolean): Promise<T> {
  if (!software || setImmediate === undefined) return pending;
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  let done = false;
  const settled = () => {
    done = true;
  };
  pending.then(settled, settled);
  const start = performance.now();
  while (!done) {
    Atomics.wait(sleeper, 0, 0, Math.min(LONGEST_NAP, (performance.now() - start) / 10));
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return pending;
}
