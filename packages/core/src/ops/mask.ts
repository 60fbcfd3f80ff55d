import { fail } from "../errors.ts"
import { broadcastShapes, stridesOf } from "../shape.ts"
import type { Tensor } from "../tensor.ts"
import { tensor } from "./create.ts"
import { take } from "./indexing.ts"
import { expand, reshape } from "./movement.ts"

// Results whose size depends on the data: they wait for it.

async function positions(x: Tensor): Promise<Int32Array> {
  const data = await x.data()
  const found: number[] = []
  for (let i = 0; i < data.length; i++) if (data[i] !== 0) found.push(i)
  return Int32Array.from(found)
}
const onDeviceOf = (x: Tensor): { device?: NonNullable<Tensor["device"]> } => (x.device === undefined ? {} : { device: x.device })

/** Coordinates of the elements that are not 0, in row-major order: i32 [count, rank]. Waits for the data. */
export async function nonzero(x: Tensor): Promise<Tensor> {
  const flat = await positions(x)
  const strides = stridesOf(x.shape)
  const out = new Int32Array(flat.length * x.rank)
  flat.forEach((at, i) => strides.forEach((s, a) => (out[i * x.rank + a] = Math.floor(at / s) % x.shape[a]!)))
  return tensor(out, { shape: [flat.length, x.rank], ...onDeviceOf(x) })
}
/** The elements of x where the mask holds, in row-major order: [count]. Both broadcast. Waits for the mask's data, not for x. */
export async function maskedSelect(x: Tensor, mask: Tensor): Promise<Tensor> {
  if (mask.dtype !== "bool") fail("dtype", "maskedSelect", `the mask must be bool, got ${mask.dtype}`, "compare it with something")
  const shape = broadcastShapes("maskedSelect", x.shape, mask.shape)
  const flat = await positions(expand(mask, shape))
  return take(reshape(expand(x, shape), [-1]), tensor(flat, onDeviceOf(x)))
}
