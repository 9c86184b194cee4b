/** After this long without a pause, timers and signal handlers get their turn. */
const AFTER_MS = 50;

/** Lets the event loop have its turn now and then during long work on the host, or many short runs that never wait for it. */
export class Breath {
  #since = performance.now();

  /** Throws the signal's reason once it was aborted. */
  async take(signal?: AbortSignal): Promise<void> {
    if (performance.now() - this.#since < AFTER_MS) return;
    await new Promise((resolve) => setTimeout(resolve, 0));
    signal?.throwIfAborted();
    this.#since = performance.now();
  }
}
