import { isFloat, referenceDevice, type Device } from "@thimble/core"
import { open } from "@thimble/kernels"
import { wasmDevice } from "../../kernels/src/wasm/device.ts"
import type { Result } from "./measure.ts"
import type { OpName } from "./table/index.ts"
import { without, type Lacks } from "./table/spec.ts"

/** A device that the conformance suite runs on. What it cannot do is a skip with its reason. */
export interface DeviceRow {
  readonly name: string
  open(): Device | Promise<Device>
  /** What it lacks of what others have: arguments avoid it. */
  readonly lacks?: Lacks
  /** Whether it makes kernels so slowly that few cases have to do. */
  readonly slow?: boolean
  /** Golden op or case → why this device does not run it. */
  readonly skips?: Readonly<Record<string, string>>
  /** Op of the table → why this device does not run it. */
  readonly unsupported?: Readonly<Partial<Record<OpName, string>>>
}

/** Tests run in Node, or on a page. */
const onPage = typeof document === "object"

export const devices: readonly DeviceRow[] = [
  { name: "reference", open: () => referenceDevice() },
  { name: "wasm", open: () => open("wasm", { threads: 2 }) },
  // One thread shares its memory with nobody.
  { name: "wasm, one thread, no revectorizer", open: () => open("wasm", { threads: 1, revectorize: false }) },
  { name: "gpujs", open: () => open("gpujs", { mode: "webasm" }), lacks: { f64: true }, slow: onPage },
]
/** On these, ops are compared one by one only: they share most code with a device above. */
export const variants: readonly DeviceRow[] = [
  { name: "wasm, one thread, no relaxed SIMD", open: () => wasmDevice({ threads: 1, features: { relaxed: false, wide: false }, maximumPages: 65536 }) },
  { name: "gpujs, as JavaScript", open: () => open("gpujs", { mode: "cpu" }), lacks: { f64: true }, slow: onPage },
  ...(onPage ? [
    { name: "gpujs, WebGL2", open: () => open("gpujs", { mode: "webgl2" }), lacks: { f64: true, subnormals: true }, slow: true } satisfies DeviceRow,
    { name: "gpujs, WebGPU", open: () => open("gpujs", { mode: "webgpu" }), lacks: { f64: true, subnormals: true }, slow: true } satisfies DeviceRow,
  ] : []),
]

/** What a device is tried with in place of these arguments. */
export const argumentsFor = <A>({ lacks }: DeviceRow, args: A): A => (lacks ? without(lacks, args) : args)
/** The name under which devices that are tried with the same arguments share what is expected. */
export const sharedBy = ({ lacks = {}, slow = false }: DeviceRow, op: string): string => `${op}${slow ? ", few" : ""}${lacks.f64 ? ", no f64" : ""}${lacks.subnormals ? ", no subnormals" : ""}`
/** A result as the device can have it. */
export const resultFor = ({ lacks }: DeviceRow, result: Result): Result =>
  lacks?.subnormals ? { ...result, numbers: result.numbers.map((v) => (isFloat(result.dtype) && Math.abs(v) < 2 ** -126 ? 0 * v : v)) } : result
