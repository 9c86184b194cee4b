/** Input or a model that cannot be evaluated; the message says what was wanted and what came. */
export class EvalError extends Error {
  override readonly name = "EvalError";
}
