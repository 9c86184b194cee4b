/** A recipe that cannot be run as it stands: the user's mistake, or something that is not built. */
export class RecipeError extends Error {
  override readonly name = "RecipeError";
}

/** The run cannot go on: the loss is not a number, a checkpoint is damaged, the recipe of a resumed run has changed. */
export class TrainingError extends Error {
  override readonly name = "TrainingError";
}

/** The run was asked to stop and has saved its state. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";
}
