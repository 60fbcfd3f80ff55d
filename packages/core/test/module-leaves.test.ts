import { expect, test } from "vitest"
import { add, compile, explain, memory, mul, random, realize, referenceDevice, sort, tensor, useDevice, currentDevice, type Device, type Tensor } from "../src/index.ts"
import { literal } from "../src/literal.ts"

const values = async (t: Tensor): Promise<number[]> => [...(await t.data())]

test("a host routine reads an argument of a compiled function", async () => {
  const sorted = compile<[Tensor], Tensor>((x) => sort(x).values)
  expect(await values(await sorted(tensor([3, 1, 2])))).toEqual([1, 2, 3])
  expect(await values(await sorted(tensor([5, 9, 4])))).toEqual([4, 5, 9])
})

test("literals are operands: other values find the same program, and hold no memory", async () => {
  const outer = currentDevice()
  const prepared: number[] = [], live = new Set<unknown>()
  const inner = referenceDevice()
  const device: Device = {
    ...inner,
    alloc: (bytes) => { const b = inner.alloc(bytes); live.add(b); return b },
    free: (b) => { live.delete(b); inner.free(b) },
    prepare: (kernels) => { prepared.push(kernels.length); return inner.prepare(kernels) },
  }
  useDevice(device)
  try {
    const before = memory().bytes
    for (const seed of [1, 2]) {
      const x = random.uniform(random.key(seed), [4]), y = add(mul(x, literal(seed, "f32")), literal([1, 2, 3, 4], "f32"))
      expect(memory().bytes).toBe(before)
      const u = await values(x)
      expect(await values(y)).toEqual(u.map((v, i) => Math.fround(Math.fround(v * seed) + i + 1)))
      x.dispose()
      y.dispose()
    }
    expect(live.size).toBe(0)
    expect(new Set(prepared)).toEqual(new Set([1]))
    expect(explain(random.bits(random.key(1), [3]))).toBe(explain(random.bits(random.key(2), [3])))
    expect(explain(random.bits(random.key(1), [3]))).not.toContain("routine")
  } finally {
    useDevice(outer)
  }
})

test("a literal may be an output, and an operand of a routine", async () => {
  const a = literal([2, 1], "i32"), b = sort(literal([2, 1], "f32")).values
  await realize(a, b)
  expect(await values(a)).toEqual([2, 1])
  expect(await values(b)).toEqual([1, 2])
  const fixed = compile<[Tensor], { a: Tensor; b: Tensor }>((x) => {
    const l = literal([7, 8], "f32")
    return { a: l, b: mul(l, x) }
  })
  for (const k of [2, 3]) {
    const out = await fixed(tensor([k]))
    expect(await values(out.a)).toEqual([7, 8])
    expect(await values(out.b)).toEqual([7 * k, 8 * k])
  }
})
