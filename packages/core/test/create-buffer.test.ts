import { expect, test } from "vitest"
import { tensor } from "../src/index.ts"

// Files arrive as Buffers, which are Uint8Arrays under another name.
test("a subclass of a typed array is taken as what it extends", async () => {
  const t = tensor(Buffer.from([1, 2, 255]))
  expect(t.dtype).toBe("u8")
  expect(await t.tolist()).toEqual([1, 2, 255])
  expect((await tensor(new (class Halves extends Uint16Array {})([0x3c00]), { dtype: "f16" }).data())[0]).toBe(1)
})
