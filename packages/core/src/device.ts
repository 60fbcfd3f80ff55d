import { fail } from "./errors.ts"
import type { DType } from "./dtype.ts"
import type { Kernel } from "./kernel.ts"

/** Memory of a device. Devices extend it with what they need; nobody else looks inside. */
export interface Buffer { readonly bytes: number }
/** A kernel made ready to run on one device. */
export interface Executable { readonly kernel: Kernel }
/** One kernel launch: buffers as the kernel's parameters are numbered, the output first. */
export interface Call {
  readonly executable: Executable
  readonly buffers: readonly Buffer[]
  readonly scalars: readonly number[]
  /** Calls of one wave stand together, and none reads or overwrites what another one writes; given where the device queues work. */
  readonly wave?: number | undefined
}

/** The contract of a device. `run` is ordered and does not block on results; `read` waits for what was run before it. */
export interface Device {
  readonly name: string
  readonly limits: { readonly bufferBytes: number }
  /** How many threads compute, the caller's included; where the device has threads. */
  readonly threads?: number
  /** Whether work is queued for an adapter that computes beside the host: more can be asked for before results are there, and kernels that do not depend on each other may begin at once. */
  readonly queued?: boolean
  /** Whether the device has a tuned kernel for the composite op `name` at these sizes; otherwise it gets the expansion. */
  accepts(name: string, dims: Readonly<Record<string, number>>, dtype: DType): boolean
  /**
   * Whether its kernel for that composite also computes two of them that share their first sources: the epilogue sees both results
   * (`acc` 0 and 1), and operands of the second that are its own have names with a 2 behind.
   */
  pairs?(name: string, dims: Readonly<Record<string, number>>, dtype: DType): boolean
  alloc(bytes: number): Buffer
  free(buffer: Buffer): void
  write(buffer: Buffer, data: Uint8Array, at?: number): void
  /** The first `bytes` of a buffer, all unless given: in memory of its own, or at the beginning of `into`. */
  read(buffer: Buffer, bytes?: number, into?: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>
  /** Makes kernels ready; kernels that print equally may share one executable. */
  prepare(kernels: readonly Kernel[]): Promise<Executable[]>
  /** `program` is the same object whenever the same kernels are called in the same way, so that a device may remember what it made of them. */
  run(calls: readonly Call[], program?: object): void
  /** Bytes handed out and not freed, what running programs keep included; where the device counts them. */
  used?(): number
  /** Releases threads, memory and handles; tensors of the device are gone afterwards. */
  close(): Promise<void>
}

let current: Device | undefined
let fallback: (() => Device) | undefined

/** The device that new tensors live on; the reference device until another is opened. */
export function currentDevice(): Device {
  return (current ??= fallback?.() ?? fail("device", "currentDevice", "no device is open", 'await open("wasm") first'))
}
/** Refuses what is not a device: usually a name. */
export function checkDevice(op: string, device: unknown): asserts device is Device {
  if (typeof device !== "object" || device === null || !("alloc" in device)) fail("device", op, `needs a device, got ${typeof device === "string" ? `'${device}'` : typeof device}`, 'await open("wasm") returns one')
}
/** Makes `device` the current one and returns it. */
export function useDevice(device: Device): Device {
  checkDevice("useDevice", device)
  current = device
  return device
}
/** Runs `fn` with `device` as the current one. */
export function withDevice<T>(device: Device, fn: () => T): T {
  checkDevice("withDevice", device)
  const outer = current
  current = device
  try {
    return fn()
  } finally {
    current = outer
  }
}
/** Names the device to start with; core registers its reference device here. */
export function defaultDevice(make: () => Device): void {
  fallback = make
}
