/** Milliseconds. */
const LONGEST_NAP = 1;
/** Naps take 0.1 ms at least: shorter waits go without. */
const SHORTEST_WAIT = 1;

/** What nobody wakes; made when it is first needed, as not every browser has such buffers. */
let sleeper: Int32Array<SharedArrayBuffer> | undefined;

interface Node {
  readonly process?: { readonly versions?: { readonly node?: string } };
  readonly setImmediate: (body: () => void) => void;
}
const { process, setImmediate } = globalThis as unknown as Node;

/**
 * What `pending`, a promise of work on the device, resolves to. Dawn in Node asks after it in every turn of the event loop, without pause:
 * on a core that a device on the processor (`software`) computes with. So each turn then sleeps, for a tenth of the time waited so
 * far and at most 1 ms. In browsers there is nothing to mend, and their pages must not sleep.
 */
export async function workDone<T>(pending: Promise<T>, software: boolean): Promise<T> {
  if (!software || process?.versions?.node === undefined) return pending;
  let done = false;
  const settled = () => {
    done = true;
  };
  pending.then(settled, settled);
  const start = performance.now();
  const turn = (resolve: () => void) => setImmediate(resolve);
  for (;;) {
    await new Promise<void>(turn);
    if (done) return pending;
    const waited = performance.now() - start;
    if (waited < SHORTEST_WAIT) continue;
    sleeper ??= new Int32Array(new SharedArrayBuffer(4));
    Atomics.wait(sleeper, 0, 0, Math.min(LONGEST_NAP, waited / 10));
  }
}
