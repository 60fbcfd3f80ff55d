import { add, constant, or, shl, shr, xor, type Expr } from "../expr.ts"

/** Two 32-bit words: a key, a counter, or a block of random bits. */
export type Words = readonly [Expr, Expr]

/** Rotation distances of Threefry-2x32, used eight rounds in turn (Salmon et al. 2011, table 2). */
const rotations = [13, 15, 26, 6, 17, 29, 16, 24] as const
/** What the words of a key are joined with to make its third word, "C240" (Skein's constant, low half). */
const parity = 0x1bd11bda

/**
 * Threefry-2x32 with 20 rounds, a bijection of counters for each key (Salmon, Moraes, Dror, Shaw, "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011). All arithmetic is modulo 2³²:
 *
 *     x₀ ← x₀ + x₁;  x₁ ← rotl(x₁, R) ⊕ x₀      each round
 *     x₀ ← x₀ + k[i mod 3];  x₁ ← x₁ + k[(i+1) mod 3] + i      before the first round, and after every fourth
 */
export function threefry([k0, k1]: Words, counter: Words): Words {
  const u = (value: number): Expr => constant("u32", value)
  const rotate = (x: Expr, by: number): Expr => or(shl(x, u(by)), shr(x, u(32 - by)))
  const keys = [k0, k1, xor(xor(k0, k1), u(parity))] as const
  let x0 = add(counter[0], k0), x1 = add(counter[1], k1)
  for (let round = 0; round < 20; round++) {
    x0 = add(x0, x1)
    x1 = xor(rotate(x1, rotations[round % 8]!), x0)
    if (round % 4 !== 3) continue
    const i = (round + 1) / 4
    x0 = add(x0, keys[i % 3]!)
    x1 = add(add(x1, keys[(i + 1) % 3]!), u(i))
  }
  return [x0, x1]
}
