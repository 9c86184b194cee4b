import { Pcg32, shuffle } from "@slayer/data";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

/** The reference implementation's expected output: imneme/pcg-c, test-high/expected/check-pcg32.out, seed 42, stream 54. */
const ROUNDS = [
  {
    numbers: "a15c02b7 7b47f409 ba1d3330 83d2f293 bfa4784b cbed606e",
    coins: "HHTTTHTHHHTHTTTHHHHHTTTHHHTHTHTHTTHTTTHHHHHHTTTTHHTTTTTHTTTTTTTHT",
    rolls: "3 4 1 1 2 2 3 2 4 3 2 4 3 3 5 2 3 1 3 1 5 1 4 1 5 6 4 6 6 2 6 3 3",
    cards:
      "Qd Ks 6d 3s 3d 4c 3h Td Kc 5c Jh Kd Jd As 4s 4h Ad Th Ac Jc 7s Qs 2s 7h Kh 2d 6c Ah 4d Qh 9h 6s 5s 2c 9c Ts 8d 9s " +
      "3c 8c Js 5d 2h 6h 7d 8s 9d 5h 8h Qc 7c Tc",
  },
  {
    numbers: "74ab93ad 1c1da000 494ff896 34462f2f d308a3e5 0fa83bab",
    coins: "HHHHHHHHHHTHHHTHTHTHTHTTTTHHTTTHHTHHTHTTHHTTTHHHHHHTHTTHTHTTTTTTT",
    rolls: "5 1 1 3 3 2 4 5 3 2 2 6 4 3 2 4 2 4 3 2 3 6 3 2 3 4 2 4 1 1 5 4 4",
    cards:
      "7d 2s 7h Td 8s 3c 3d Js 2d Tc 4h Qs 5c 9c Th 2c Jc Qd 9d Qc 7s 3s 5s 6h 4d Jh 4c Ac 4s 5h 5d Kc 8h 8d Jd 9s Ad 6s " +
      "6c Kd 2h 3h Kh Ts Qh 9h 6d As 7c Ks Ah 8c",
  },
];

describe("PCG32", () => {
  it("gives the numbers, coins, rolls and card decks of the reference implementation", () => {
    const random = new Pcg32(42, 54);
    const times = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);
    for (const round of ROUNDS) {
      expect(times(6, () => random.next().toString(16).padStart(8, "0")).join(" ")).toBe(round.numbers);
      expect(times(65, () => "TH"[random.below(2)]).join("")).toBe(round.coins);
      expect(times(33, () => random.below(6) + 1).join(" ")).toBe(round.rolls);
      const cards = shuffle(
        Array.from({ length: 52 }, (_, i) => i),
        random,
      );
      expect(cards.map((card) => "A23456789TJQK"[Math.floor(card / 4)] + "hcds"[card % 4]).join(" ")).toBe(round.cards);
    }
  });

  it("for any seed and stream: the definition, in 64-bit integers", () => {
    const anyCount = fc.maxSafeNat();
    fc.assert(
      fc.property(anyCount, anyCount, (seed, stream) => {
        const mask = (1n << 64n) - 1n;
        const increment = ((BigInt(stream) << 1n) | 1n) & mask;
        const step = (state: bigint): bigint => (state * 6364136223846793005n + increment) & mask;
        let state = step((step(0n) + BigInt(seed)) & mask);
        const random = new Pcg32(seed, stream);
        for (let i = 0; i < 20; i++) {
          const xorshifted = (((state >> 18n) ^ state) >> 27n) & 0xffffffffn;
          const rotation = state >> 59n;
          const expected = ((xorshifted >> rotation) | (xorshifted << (32n - rotation))) & 0xffffffffn;
          expect(random.next()).toBe(Number(expected));
          state = step(state);
        }
      }),
    );
  });
});
