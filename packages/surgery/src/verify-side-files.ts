import { join } from "node:path";
import { listSideFiles } from "@slayer/checkpoint";
import { fileHash } from "./file-hash.js";
import type { VerifyProblem } from "./problems.js";

/** Tokenizer and other side files of the base must lie beside the new weights, byte for byte. */
export async function compareSideFiles(baseDir: string, expandedDir: string): Promise<VerifyProblem[]> {
  const wanted = await listSideFiles(baseDir);
  const got = new Set((await listSideFiles(expandedDir)).copied);
  const problems: VerifyProblem[] = [];
  for (const name of wanted.copied) {
    if (!got.has(name)) {
      problems.push({ code: "side-file", message: `${name} of the base is missing beside the new weights` });
    } else if ((await fileHash(join(baseDir, name))) !== (await fileHash(join(expandedDir, name)))) {
      problems.push({ code: "side-file", message: `${name} differs from the base's` });
    }
  }
  return problems;
}
