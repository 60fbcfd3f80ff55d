import { Tensor } from "@thimble/core"

/** Stored elements, little-endian and row-major; as a function, they are made when they are written. */
export type Stored = ArrayBufferView | (() => ArrayBufferView | Promise<ArrayBufferView>)

export const bytesOf = (data: ArrayBufferView): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** The bytes to write for a tensor, or for elements of a type that tensors need not know. */
export async function storedBytes(value: Tensor | { readonly bytes: Stored }): Promise<Uint8Array> {
  return bytesOf(value instanceof Tensor ? await value.raw() : typeof value.bytes === "function" ? await value.bytes() : value.bytes)
}
