/** A plan that cannot be made, read or applied; the message says what was wanted, what came, and what to change. */
export class PlanError extends Error {
  override readonly name = "PlanError";
  /** The plan file, when the plan came from one. */
  readonly file: string | undefined;

  constructor(message: string, file?: string) {
    super(file === undefined ? message : `${file}: ${message}`);
    this.file = file;
  }
}
