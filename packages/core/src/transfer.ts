import { checkDevice, withDevice, type Device } from "./device.ts"
import { fail, showShape } from "./errors.ts"
import { copyOf } from "./graph.ts"
import { fromBytes } from "./ops/create.ts"
import { reader, type Tensor } from "./tensor.ts"
import { mapTree, tensorsOf } from "./tree.ts"

/**
 * The tensor's value on another device, computed first where it lies if need be; the same tensor if it is there already.
 * The original keeps its memory. Gradients do not flow through.
 */
export async function moveTo(x: Tensor, device: Device): Promise<Tensor> {
  checkDevice("to", device)
  if (x.disposed) fail("disposed", "to", `${x.dtype}${showShape(x.shape)} was disposed`)
  if (x.device === device) return x
  if (x.device === undefined) {
    // No device holds any of it, so that one can compute it as well as another.
    const y = copyOf(x)
    await withDevice(device, () => reader.realize([y]))
    y.sources = []
    y.range = x.range
    return y
  }
  const raw = await x.raw()
  return fromBytes(new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength), x.shape, x.dtype, device, x.range)
}

/** A tree of the same form with every tensor on `device`, see {@link moveTo}. Each tensor is moved once, also if it stands at two places. */
export async function toDevice<T>(tree: T, device: Device): Promise<T> {
  const moved = new Map<Tensor, Tensor>()
  const byDevice = Map.groupBy(new Set(tensorsOf(tree)), (t) => t.device)
  for (const [from, tensors] of byDevice) {
    if (from !== undefined && from !== device) await reader.realize(tensors)
    for (const t of tensors) moved.set(t, await moveTo(t, device))
  }
  return mapTree(tree, (t) => moved.get(t))
}
