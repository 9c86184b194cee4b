import { AddonMissingError, availableIsas } from "@slayer/backend-cpu";

/** Why there is no addon here, or undefined if there is one. */
export const missing: string | undefined = probe();

/** The instruction sets of this processor; none without the addon. */
export const isas: readonly string[] = missing === undefined ? availableIsas() : [];

/** For the titles of tests that are skipped without the addon: what is missing. */
export const note: string = missing === undefined ? "" : ` (not checked here: ${missing})`;

function probe(): string | undefined {
  try {
    availableIsas();
    return undefined;
  } catch (error) {
    if (error instanceof AddonMissingError) return error.message;
    throw error;
  }
}
