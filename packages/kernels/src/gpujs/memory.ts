// Tensors of the gpujs device: bytes of the host, the numbers that gpu.js is given for them, and those that only a GPU has yet.
import { bf16Value, bytesOf, dtypes, encode, f16Value, sizeOf, type Buffer, type DType, type Evaluate, type Kernel, type ThimbleError } from "@thimble/core"
import type { Handle, Result } from "./library.ts"
import type { Residents } from "./resident.ts"

export interface Memory extends Buffer {
  readonly data: Uint8Array<ArrayBuffer>
  /** What gpu.js is given for `data` read as a type; until it is written. */
  readonly numbers: Map<DType, Float32Array>
  /** The same where it is on the GPU. */
  readonly handles: Map<DType, Handle>
  /** What `data` does not have yet: elements of this type that were computed on the GPU. */
  ahead: { readonly dtype: DType; readonly size: number } | undefined
  /** Why what should have been computed into it was not. */
  fault: ThimbleError | undefined
}
export const newMemory = (bytes: number): Memory => ({ bytes, data: new Uint8Array(bytes), numbers: new Map(), handles: new Map(), ahead: undefined, fault: undefined })

/** Moves what memories hold between the host and a GPU, if there is one. */
export class Memories {
  private readonly residents: Residents | undefined

  constructor(residents: Residents | undefined) {
    this.residents = residents
  }

  /** What gpu.js is given for a memory that is read as a type. */
  async operand(memory: Memory, dtype: DType): Promise<Float32Array | Handle> {
    const { residents } = this
    if (residents === undefined) return numbersOf(memory, dtype)
    const known = memory.handles.get(dtype)
    if (known !== undefined) return known
    const handle = await residents.upload(await this.numbers(memory, dtype))
    memory.handles.set(dtype, handle)
    memory.numbers.clear()
    return handle
  }
  /** The numbers of a memory, on the host. */
  async numbers(memory: Memory, dtype: DType): Promise<Float32Array> {
    await this.toHost(memory)
    return numbersOf(memory, dtype)
  }
  /** Brings what was computed on the GPU to the host. */
  async toHost(memory: Memory): Promise<void> {
    const { ahead } = memory
    if (ahead === undefined) return
    memory.ahead = undefined
    store(memory, ahead.dtype, ahead.size, await this.residents!.download(memory.handles.get(ahead.dtype)!, ahead.size))
  }
  /** Takes what a kernel of gpu.js gave: in order, or at these places among what is there. */
  async take(memory: Memory, dtype: DType, size: number, result: Result | Handle, places?: Int32Array): Promise<void> {
    if ("delete" in result) {
      this.changed(memory)
      memory.handles.set(dtype, this.residents!.hold(result))
      memory.ahead = { dtype, size }
      return
    }
    if (places !== undefined) await this.toHost(memory)
    this.changed(memory)
    store(memory, dtype, size, result, places)
  }
  /** Bytes from elsewhere; what only the GPU has has to be here before, unless all is replaced. */
  put(memory: Memory, bytes: Uint8Array, at: number): void {
    memory.data.set(bytes, at)
    if (bytes.byteLength === memory.bytes) memory.fault = undefined
    this.changed(memory)
  }
  /** Forgets what was made of a memory that has other contents now, or is free. */
  changed(memory: Memory): void {
    memory.numbers.clear()
    for (const handle of memory.handles.values()) this.residents?.drop(handle)
    memory.handles.clear()
    memory.ahead = undefined
  }
}

/** What is stored, as f32 numbers: 16-bit floats by value, 32-bit integers as two halves. */
function numbersOf(memory: Memory, dtype: DType): Float32Array {
  const known = memory.numbers.get(dtype)
  if (known) return known
  const { buffer } = memory.data
  const whole = buffer.byteLength - (buffer.byteLength % bytesOf(dtype))
  const elements = new dtypes[dtype].array(buffer, 0, whole / bytesOf(dtype))
  const made = dtype === "f32" ? (elements as Float32Array)
    : dtype === "f16" ? Float32Array.from(elements, f16Value)
    : dtype === "bf16" ? Float32Array.from(elements, bf16Value)
    : dtype === "i32" || dtype === "u32" ? Float32Array.from(new Uint16Array(buffer, 0, whole / 2))
    : Float32Array.from(elements)
  // gpu.js takes no empty arrays.
  const numbers = made.length === 0 ? new Float32Array(1) : made
  memory.numbers.set(dtype, numbers)
  return numbers
}

/** Where values go that do not go in order: the host counts places. */
export function placesOf(into: Evaluate, { shape, parameters }: Kernel, buffers: readonly Memory[], scalars: readonly number[]): Int32Array {
  const elements = buffers.map(({ data: { buffer } }, i) => new dtypes[parameters[i]!].array(buffer, 0, Math.floor(buffer.byteLength / bytesOf(parameters[i]!))))
  const coords = new Int32Array(shape.length)
  return new Int32Array(sizeOf(shape)).map(() => {
    const place = into(coords, elements, scalars, 0)
    for (let a = shape.length - 1; a >= 0 && ++coords[a]! === shape[a]!; a--) coords[a] = 0
    return place
  })
}

function store(memory: Memory, dtype: DType, size: number, result: Result, places?: Int32Array): void {
  const out = new dtypes[dtype].array(memory.data.buffer, 0, Math.floor(memory.bytes / bytesOf(dtype)))
  if (dtype === "i32" || dtype === "u32") {
    const pairs = result as readonly ArrayLike<number>[]
    for (let i = 0; i < size; i++) out[places?.[i] ?? i] = pairs[i]![1]! * 65536 + pairs[i]![0]!
  } else if (dtype === "f32" && places === undefined) out.set(result as Float32Array)
  else for (let i = 0; i < size; i++) out[places?.[i] ?? i] = encode(dtype, (result as Float32Array)[i]!)
}
