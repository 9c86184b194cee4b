/** Input that cannot be measured, or a scores file that cannot be read; the message says what was wanted and what came. */
export class ImportanceError extends Error {
  override readonly name = "ImportanceError";
  /** The scores file, when the mistake is in one. */
  readonly file: string | undefined;

  constructor(message: string, file?: string) {
    super(file === undefined ? message : `${file}: ${message}`);
    this.file = file;
  }
}
