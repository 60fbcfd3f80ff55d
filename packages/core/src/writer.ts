import { checkDevice, currentDevice, type Device } from "./device.ts"
import { checkDType, dtypes, type DType } from "./dtype.ts"
import { fail } from "./errors.ts"
import { checkStorable } from "./program.ts"
import { allocate } from "./realize.ts"
import { checkShape, sizeOf, type Shape } from "./shape.ts"
import { fromStorage, type Storage, type Tensor } from "./tensor.ts"

/** @internal */
export const storedSize = (op: string, shape: Shape, dtype: DType): number => sizeOf(checkShape(op, shape)) * dtypes[checkDType(op, dtype)].bytes
/** @internal Memory for a tensor of elements from outside. */
export function storageFor(op: string, shape: Shape, dtype: DType, device: Device): Storage {
  const bytes = storedSize(op, shape, dtype)
  checkDevice(op, device)
  checkStorable(op, shape, dtype, device)
  return allocate(device, [bytes])[0]!
}

/** A tensor that is written in pieces, see {@link tensorWriter}. Disposing it before it is done releases its memory. */
export interface TensorWriter extends Disposable {
  /** Puts stored bytes (little-endian, row-major, bits of f16 and bf16) at byte `at`. Both are multiples of 4, but for the length of what ends the tensor. */
  write(bytes: Uint8Array, at: number): void
  /** The tensor, once all of its bytes are there. */
  done(): Tensor
}

/** Memory for a tensor whose stored elements arrive piece by piece, each byte once, so that the host never has to hold all of them. */
export function tensorWriter(shape: Shape, dtype: DType, device: Device = currentDevice()): TensorWriter {
  const storage = storageFor("tensorWriter", shape, dtype, device)
  let missing = storage.bytes, open = true
  return {
    write(bytes, at) {
      if (!open) fail("value", "tensorWriter", "the tensor is done, or was given up")
      if (!Number.isInteger(at) || at < 0 || at + bytes.byteLength > storage.bytes) fail("value", "tensorWriter", `${bytes.byteLength} bytes at ${at} do not fit into ${storage.bytes}`)
      if (bytes.byteLength > 0) device.write(storage.buffer, bytes, at)
      missing -= bytes.byteLength
    },
    done() {
      if (!open) fail("value", "tensorWriter", "the tensor is done already, or was given up")
      if (missing !== 0) fail("value", "tensorWriter", `${missing} of ${storage.bytes} bytes were not written`)
      open = false
      return fromStorage(storage, shape, dtype)
    },
    [Symbol.dispose]() {
      if (open) device.free(storage.buffer)
      open = false
    },
  }
}
