import type { PlanSummary } from "./summary.js";
import { formatPlan } from "./format.js";

/** README.md of an expanded checkpoint: what it is, how it was made, how to check it. Same plan, same text. */
export function modelCard(baseName: string, summary: PlanSummary): string {
  const name = JSON.stringify(baseName);
  return `---
library_name: transformers
pipeline_tag: text-generation
tags:
- block-expansion
- slayer
---

# ${inline(summary.recipe.name)} on ${inline(baseName)}

This checkpoint was made from the base model ${name} by surgery on its blocks; it has not been trained since.
${
  summary.preservesFunction
    ? "It computes the same function as the base: its new blocks add nothing until they are trained."
    : "It does not compute the same function as the base and is meant to be trained further."
}

Trained by default: blocks ${summary.trainable.blocks.join(", ") || "none"}. \`provenance.json\` says for every block and tensor which tensors of the
base it is made of, with SHA-256 of both; \`slayer verify BASE THIS\` checks it.

\`\`\`text
${formatPlan(summary).replaceAll("```", "'''").trimEnd()}
\`\`\`

The base model's licence applies.
`;
}

/** Text that stays inside one line of Markdown whatever it holds. */
function inline(text: string): string {
  return text.replace(/[^\w .-]/g, "_");
}
