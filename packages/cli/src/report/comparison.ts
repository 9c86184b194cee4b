import { z } from "zod";
import { UserError } from "../errors.js";

const text = z.string().max(500);
const count = z.int().nonnegative();
const schema = z.object({
  date: z.string(),
  machine: z.string(),
  command: z.string(),
  base: z.record(z.string(), z.unknown()),
  runs: z
    .array(
      z.object({
        name: text,
        recipe: text,
        total_parameters: count,
        trainable_parameters: count,
        seconds: z.number(),
        domain_before: z.number(),
        domain_after: z.number(),
        general_before: z.number(),
        general_after: z.number(),
      }),
    )
    .max(100),
  notes: z.union([z.string(), z.array(z.string())]).optional(),
});

/** quickstart.json: several ways of post-training one base, and their held-out losses in nats per token. */
export type Comparison = z.infer<typeof schema>;
export type ComparedRun = Comparison["runs"][number];

/** @throws UserError naming the field */
export function parseComparison(text: string, file: string): Comparison {
  const parsed = schema.safeParse(JSON.parse(text));
  if (parsed.success) return parsed.data;
  throw new UserError(`${file}: ${z.prettifyError(parsed.error)}`);
}
