/** What verification can find. A closed set: a caller can switch over it. */
export type VerifyProblemCode =
  /** A copy, but of another block. */
  | "wrong-block"
  /** Should be zero and is not. */
  | "not-zeroed"
  /** Zero where it should not be. */
  | "unexpected-zeros"
  /** The mean of other blocks than planned. */
  | "wrong-average"
  /** A plain copy where a mean was planned. */
  | "not-averaged"
  /** The right mean, rounded to fewer bits or cut off instead of rounded. */
  | "rounded-average"
  /** None of the above: bytes that nothing explains. */
  | "different-bytes"
  | "missing-tensor"
  | "extra-tensor"
  | "wrong-shape"
  | "wrong-dtype"
  | "config-mismatch"
  | "side-file"
  /** provenance.json is absent or unusable. */
  | "missing-provenance"
  | "bad-provenance"
  /** provenance.json disagrees with the plan, or with the tensors. */
  | "provenance-mismatch"
  /** The base is not the one that provenance.json names. */
  | "base-mismatch";

export interface VerifyProblem {
  readonly code: VerifyProblemCode;
  /** The tensor, where one is to blame. */
  readonly tensor?: string;
  /** One sentence: what was wanted and what is there. */
  readonly message: string;
}
