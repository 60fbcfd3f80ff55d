import { describe, expect, test } from "vitest"
import { memory, tensor, tensorWriter } from "../src/index.ts"

describe("a tensor written in pieces", () => {
  test("has the elements that were written, in whatever order the pieces came", async () => {
    const values = Float32Array.from({ length: 12 }, (_, i) => i), bytes = new Uint8Array(values.buffer)
    using writer = tensorWriter([3, 4], "f32")
    for (const [begin, end] of [[16, 48], [0, 16]] as const) writer.write(bytes.subarray(begin, end), begin)
    using x = writer.done()
    expect(x.shape).toEqual([3, 4])
    expect(await x.data()).toEqual(values)
  })
  test("is refused with bytes missing, beyond its end, or after it is done", () => {
    using writer = tensorWriter([2], "f16")
    expect(() => writer.done()).toThrow(/4 of 4 bytes/)
    expect(() => writer.write(new Uint8Array(2), 4)).toThrow(/do not fit/)
    writer.write(new Uint8Array(4), 0)
    writer.done().dispose()
    expect(() => writer.write(new Uint8Array(4), 0)).toThrow(/done/)
  })
  test("leaves no memory behind where it is given up", () => {
    const before = memory().bytes
    {
      using writer = tensorWriter([1024], "f32")
      writer.write(new Uint8Array(8), 0)
    }
    expect(memory().bytes).toBe(before)
  })
})

describe("raw", () => {
  test("reads into an array that is given, and refuses one of another kind or size", async () => {
    using x = tensor([1, 2, 3])
    const into = new Float32Array(3)
    expect(await x.raw(into)).toBe(into)
    expect([...into]).toEqual([1, 2, 3])
    await expect(x.raw(new Float32Array(4))).rejects.toThrow(/3 elements/)
    await expect(x.raw(new Int32Array(3))).rejects.toThrow(/Float32Array/)
  })
  test("leaves what lies beside the part of an array that it reads into", async () => {
    using x = tensor([1, 2])
    const around = new Float32Array([7, 7, 7, 7])
    await x.raw(around.subarray(1, 3))
    expect([...around]).toEqual([7, 1, 2, 7])
  })
})
