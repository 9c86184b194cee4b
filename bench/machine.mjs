/** Which kind of machine this is: results of different kinds are not compared. */
import { readFileSync } from "node:fs";
import { cpus } from "node:os";

/** The processor's name, with family and model, as hypervisors often hide the rest. */
export function processor() {
  const name = cpus()[0]?.model.trim() ?? "unknown processor";
  let text = "";
  try {
    text = readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    // not Linux: the name has to do
  }
  const [family, model] = ["cpu family", "model"].map((key) => new RegExp(`^${key}\\s*: (\\d+)$`, "m").exec(text)?.[1]);
  return family !== undefined && model !== undefined ? `${name} (family ${family}, model ${model})` : name;
}

/**
 * Text as a file name: lower case, words joined by hyphens.
 *
 * @param {string} text
 */
export function slug(text) {
  return text
    .toLowerCase()
    .replaceAll(/\((r|tm)\)|\bfamily\b|\bmodel\b/g, "")
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-|-$/g, "");
}
