import { createHash } from "node:crypto";
import { DataError } from "../errors.js";

/**
 * Whether a document belongs to the held-out part. Decided by its content alone (SHA-256, first 48 bits, against `share`),
 * so it does not depend on order or on other documents, equal documents fall on the same side, and a larger share holds
 * all that a smaller one does.
 * @param share 0 … 1, the expected part of documents held out
 */
export function isHeldOut(text: string, share: number): boolean {
  if (!(share >= 0 && share <= 1)) throw new DataError("bad-option", `share: expected 0 … 1, found ${share}`);
  return createHash("sha256").update(text).digest().readUIntBE(0, 6) / 2 ** 48 < share;
}
