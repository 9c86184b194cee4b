/** The base model's size and how much is trained. Everything else follows from the text. */
export interface QuickstartBudget {
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  sequenceLength: number;
  /** Sequences per step. */
  batch: number;
  baseSteps: number;
  /** Of each post-training run: the same tokens in the same order for all. */
  postSteps: number;
  /** Documents of each kind to train on, at most: more than the runs get through only cost time to tokenize. */
  documents: number;
  /** Tokens of each held-out text that are scored, up to the end of a document. */
  heldOutTokens: number;
  /** Of those sequences, on how many blocks are removed and inserted, at most. */
  sweptSequences: number;
}

/** About two minutes on two processor cores with the native backend. */
export const DEFAULT_BUDGET: QuickstartBudget = {
  vocabSize: 1024,
  hiddenSize: 128,
  intermediateSize: 344,
  sequenceLength: 128,
  batch: 16,
  baseSteps: 600,
  postSteps: 200,
  documents: 400,
  heldOutTokens: 8192,
  sweptSequences: 64,
};

/** A few minutes on the reference executor. */
export const REFERENCE_BUDGET: QuickstartBudget = {
  vocabSize: 512,
  hiddenSize: 64,
  intermediateSize: 160,
  sequenceLength: 128,
  batch: 8,
  baseSteps: 100,
  postSteps: 30,
  documents: 120,
  heldOutTokens: 2048,
  sweptSequences: 8,
};

/** Shows that everything runs; learns little. */
export const SMALL_BUDGET: QuickstartBudget = {
  vocabSize: 320,
  hiddenSize: 64,
  intermediateSize: 160,
  sequenceLength: 32,
  batch: 4,
  baseSteps: 6,
  postSteps: 2,
  documents: 8,
  heldOutTokens: 512,
  sweptSequences: 2,
};
