import { bytesOf, decode, dtypes, referenceDevice, showKernel, sizeOf, type Buffer, type Call, type Device, type Executable } from "@thimble/core"

interface Both extends Buffer { readonly own: Buffer; readonly reference: Buffer }
interface Pair extends Executable { readonly own: Executable; readonly reference: Executable }

/**
 * A device that runs every kernel on `own` and on the reference device, from the same inputs, and throws at the first
 * kernel whose results differ by more than `tolerance` of their largest value: it finds the kernel behind a wrong number.
 * Composites run as expansions.
 */
export function shadowDevice(own: Device, tolerance = 1e-5): Device {
  const reference = referenceDevice()
  const check = async (call: Call): Promise<void> => {
    const { kernel } = call.executable
    const out = call.buffers[0] as Both
    const n = sizeOf(kernel.shape)
    const numbers = async (d: Device, b: Buffer): Promise<Float64Array> => {
      const bytes = await d.read(b, n * bytesOf(kernel.dtype))
      return Float64Array.from(new dtypes[kernel.dtype].array(bytes.buffer, 0, n), (v) => decode(kernel.dtype, v))
    }
    const [a, b] = [await numbers(own, out.own), await numbers(reference, out.reference)]
    const scale = b.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 0)
    const at = b.findIndex((v, i) => !(v === a[i] || (Number.isNaN(v) && Number.isNaN(a[i])) || Math.abs(v - a[i]!) <= tolerance * scale))
    if (at >= 0) throw new Error(`${own.name} differs at element ${at}: ${a[at]} instead of ${b[at]} in\n${showKernel(kernel)}`)
  }
  let pending: Promise<void> = Promise.resolve()
  return {
    name: `${own.name} beside reference`,
    limits: own.limits,
    accepts: () => false,
    alloc: (bytes): Both => ({ bytes, own: own.alloc(bytes), reference: reference.alloc(bytes) }),
    free(buffer) {
      // Checks still to come need the memory.
      void pending.then(() => own.free((buffer as Both).own), () => {})
    },
    write(buffer, data, at) {
      own.write((buffer as Both).own, data, at)
      reference.write((buffer as Both).reference, data, at)
    },
    async read(buffer, bytes) {
      await pending
      return own.read((buffer as Both).own, bytes)
    },
    async prepare(kernels) {
      const [a, b] = [await own.prepare(kernels), await reference.prepare(kernels)]
      return a.map((e, i): Pair => ({ kernel: e.kernel, own: e, reference: b[i]! }))
    },
    run(calls) {
      pending = pending.then(async () => {
        for (const call of calls) {
          const { executable, buffers, scalars } = call
          const pair = executable as Pair
          own.run([{ executable: pair.own, buffers: buffers.map((b) => (b as Both).own), scalars }])
          reference.run([{ executable: pair.reference, buffers: buffers.map((b) => (b as Both).reference), scalars }])
          await check(call)
        }
      })
      pending.catch(() => {})
    },
    close: () => own.close(),
  }
}
