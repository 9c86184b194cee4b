import { Pcg32 } from "@slayer/data";

/** Words with some structure, so that there is something to learn. */
export function tinyTexts(count: number, seed: number): string[] {
  const random = new Pcg32(seed, 7);
  const words = [
    "the",
    "block",
    "learns",
    "what",
    "a",
    "shallow",
    "layer",
    "holds",
    "and",
    "forgets",
    "nothing",
    "new",
  ];
  return Array.from({ length: count }, () =>
    Array.from({ length: 20 + random.below(30) }, () => words[random.below(words.length)]!).join(" "),
  );
}
