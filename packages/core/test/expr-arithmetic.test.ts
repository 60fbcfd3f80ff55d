import fc from "fast-check"
import { expect, test } from "vitest"
import { expr, referenceDevice, sizeOf, type Expr, type Shape } from "../src/index.ts"
import { coordinates, flatIndex, reshaped, unflatten } from "../src/coordinates.ts"

const { freshExprs, int, add, sub, mul, div, rem, sumOf } = expr
const device = referenceDevice()

/** The values of i32 expressions at all coordinates of a shape. */
async function valuesOf(shape: Shape, bodies: readonly Expr[]): Promise<number[][]> {
  const executables = await device.prepare(bodies.map((body) => ({ kind: "map", shape, dtype: "i32", parameters: ["i32"], sizes: [sizeOf(shape)], scalars: [], body })))
  return Promise.all(executables.map(async (executable) => {
    const out = device.alloc(4 * sizeOf(shape))
    device.run([{ executable, buffers: [out], scalars: [] }])
    return [...new Int32Array((await device.read(out)).buffer, 0, sizeOf(shape))]
  }))
}

/** A value built by the constructors, which simplify, and beside it by plain arithmetic on each coordinate. */
interface Both { readonly built: Expr; readonly plain: (coords: readonly number[]) => number }
type Step = readonly [op: "add" | "sub" | "mul" | "div" | "rem", a: number, b: number, k: number]
function apply(values: readonly Both[], [op, x, y, k]: Step): Both {
  const a = values[x % values.length]!, b = values[y % values.length]!
  switch (op) {
    case "add": return { built: add(a.built, b.built), plain: (c) => (a.plain(c) + b.plain(c)) | 0 }
    case "sub": return { built: sub(a.built, b.built), plain: (c) => (a.plain(c) - b.plain(c)) | 0 }
    case "mul": return { built: mul(a.built, int(k)), plain: (c) => Math.imul(a.plain(c), k) }
    case "div": return { built: div(a.built, int(k)), plain: (c) => (k === 0 ? 0 : Math.trunc(a.plain(c) / k) | 0) }
    case "rem": return { built: rem(a.built, int(k)), plain: (c) => (k === 0 ? 0 : a.plain(c) % k | 0) }
  }
}
const shapes = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 3 })
const constants = fc.oneof(fc.integer({ min: -3, max: 12 }), fc.constantFrom(2 ** 31 - 1, -(2 ** 31), 65536, 1 << 30))
const steps = fc.array(fc.tuple(fc.constantFrom("add", "sub", "mul", "div", "rem"), fc.nat(9), fc.nat(9), constants), { minLength: 1, maxLength: 10 }) as fc.Arbitrary<Step[]>
const every = (shape: Shape): number[][] => Array.from({ length: sizeOf(shape) }, (_, i) => shape.map((n, a) => Math.floor(i / sizeOf(shape.slice(a + 1))) % n))

test("arithmetic of coordinates has the value of plain 32-bit arithmetic, however it was simplified", () =>
  fc.assert(fc.asyncProperty(shapes, constants, steps, async (shape, k, list) => {
    const values: Both[] = freshExprs(() => {
      const all: Both[] = [...coordinates(shape).map((built, a): Both => ({ built, plain: (c) => c[a]! })), { built: int(k), plain: () => k }]
      for (const step of list) all.push(apply(all, step))
      return all
    })
    const found = await valuesOf(shape, values.map((v) => v.built))
    expect(found).toEqual(values.map((v) => every(shape).map((c) => v.plain(c))))
    // Bounds hold, and the sum is the value modulo 2³².
    values.forEach(({ built: { low, high } }, i) => expect(found[i]!.every((v) => v >= low && v <= high)).toBe(true))
    const sums = freshExprs(() => values.map(({ built }) => sumOf(built)))
    const terms = [...new Set(sums.flatMap((s) => [...s.terms.keys()]))]
    const known = new Map((await valuesOf(shape, terms)).map((v, i) => [terms[i]!, v]))
    sums.forEach((s, n) => expect(every(shape).map((_, i) =>
      Number(BigInt.asIntN(32, [...s.terms].reduce((all, [t, times]) => all + BigInt(times) * BigInt(known.get(t)![i]!), BigInt(s.rest)))))).toEqual(found[n]))
  }), { numRuns: 400 }))

test("coordinates of another shape are those of the same position", () =>
  fc.assert(fc.asyncProperty(shapes, shapes, fc.array(fc.nat(4), { maxLength: 3 }), async (shape, other, ones) => {
    const to = [...shape]
    for (const at of ones) to.splice(at % (to.length + 1), 0, 1)
    const all = sizeOf(shape)
    const targets = [to, shape.toReversed(), [all], sizeOf(other) === all ? other : shape]
    const bodies = freshExprs(() => targets.flatMap((target) => [flatIndex(reshaped(coordinates(shape), shape, target), target), flatIndex(unflatten(flatIndex(coordinates(shape), shape), target), target)]))
    for (const positions of await valuesOf(shape, bodies)) expect(positions).toEqual(Array.from({ length: all }, (_, i) => i))
  }), { numRuns: 200 }))
test("axes of size 1 come and go without arithmetic", () => freshExprs(() => {
  const [i, j] = coordinates([4, 5]) as [Expr, Expr]
  expect(reshaped([i, j], [4, 5], [1, 4, 1, 5, 1])).toEqual([int(0), i, int(0), j, int(0)])
  expect(reshaped([int(0), i, int(0), j], [1, 4, 1, 5], [4, 5])).toEqual([i, j])
  expect(reshaped([i, j], [4, 5], [20])).toEqual([add(mul(i, int(5)), j)])
}))
