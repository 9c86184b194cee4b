/**
 * Where a backend keeps what it measured from one process to the next. A key names the device, its driver and the kernels; the text is
 * the backend's own, and what it does not understand is measured again.
 */
export interface TuningStore {
  load(key: string): Promise<string | undefined>;
  save(key: string, text: string): Promise<void>;
}
