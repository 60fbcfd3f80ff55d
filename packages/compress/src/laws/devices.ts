// F2 and F3: what devices make of stored matrices.
import { quantizedWeight, tensor, uploadParts, withDevice, type Device, type Tensor } from "@thimble/core"
import type { QuantizedFormat } from "../quantizer.ts"
import { show } from "./bounds.ts"
import { breach, roundTrip, type Case, type DeviceLaw } from "./law.ts"
import { numbers, ordinary } from "./values.ts"

/** What a stored matrix is on a device, read there. */
const read = (format: QuantizedFormat, { values, shape }: Case, device: Device, of: (weight: ReturnType<typeof quantizedWeight>) => Tensor): Promise<Float32Array> =>
  withDevice(device, () => of(quantizedWeight(format, shape, uploadParts(format.encode(values, shape)))).data()) as Promise<Float32Array>

export const devices: DeviceLaw = {
  name: "devices", letter: "F2",
  statement: "A device decodes what the host decodes, as a matrix and by rows: to the last bit, or next to it where scales are f32 or there is a minimum.",
  async brokenOn(format, c, device) {
    const { values, shape } = c, there = roundTrip(format, values, shape)
    if (there === undefined || values.length === 0) return undefined
    const [rows, columns] = shape, ids = [rows - 1, c.pick % rows]
    const dense = await read(format, c, device, (w) => w.dense())
    const some = await read(format, c, device, (w) => w.rows(tensor(ids, { dtype: "i32" })))
    const most = there.back.reduce((m, v) => Math.max(m, Math.abs(v)), 0), slack = format.min ? most * 2 ** -23 : 0
    const near = (a: number, b: number): boolean => a === b || Math.abs(a - b) <= slack + Math.abs(b) * 2 ** -23
    for (let i = 0; i < dense.length; i++) if (!near(dense[i]!, there.back[i]!)) return breach(i, shape, `${show(there.back[i]!)} on the host is ${show(dense[i]!)} on ${device.name}`)
    for (let i = 0; i < some.length; i++) {
      const at = ids[Math.floor(i / columns)]! * columns + (i % columns)
      if (!near(some[i]!, there.back[at]!)) return breach(at, shape, `${show(there.back[at]!)} on the host is ${show(some[i]!)} when rows are looked up on ${device.name}`)
    }
    return undefined
  },
}

export const products: DeviceLaw = {
  name: "products", letter: "F3",
  statement: "A product with stored weights is the product with the decoded ones, within (K + 2)·2⁻²⁴·Σ|x||ŵ|.",
  kinds: ordinary,
  async brokenOn(format, c, device) {
    const { values, shape } = c, there = roundTrip(format, values, shape)
    if (there === undefined || values.length === 0) return undefined
    const [rows, columns] = shape, next = numbers(c.pick), x = Float32Array.from({ length: columns }, () => 2 * next() - 1)
    const got = await read(format, c, device, (w) => w.apply(tensor(x, { shape: [1, columns] })))
    for (let r = 0; r < rows; r++) {
      let want = 0, size = 0
      for (let k = 0; k < columns; k++) {
        want += x[k]! * there.back[r * columns + k]!
        size += Math.abs(x[k]! * there.back[r * columns + k]!)
      }
      if (!(Math.abs(got[r]! - want) <= (columns + 2) * 2 ** -24 * size + 2 ** -126)) return { problem: `output ${r} is ${show(got[r]!)} on ${device.name}, and ${show(want)} exactly` }
    }
    return undefined
  },
}
