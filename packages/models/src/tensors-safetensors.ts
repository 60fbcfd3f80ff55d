import { denseWeight, fail, fromBytes, showShape, type DType, type Tensor, type Weight } from "@thimble/core"
import type { SafetensorsFile } from "@thimble/formats"
import { architectureOf, fileName, type Architecture } from "./architecture.ts"
import type { BlockRole, Config } from "./config.ts"
import { expectedTensors, type Expected } from "./expected.ts"
import type { Unread } from "./lazy.ts"

/** Where a model's tensors are in a checkpoint: its names for them, which may lack a common root. */
export interface Placed { readonly expected: Expected; readonly stored: string }

/** How checkpoints may spell the name of a tensor. */
function spellings(a: Architecture, name: string): string[] {
  const prefix = a.optionalPrefix, all = [fileName(a, name), ...(a.aliases ?? []).filter(([pattern]) => pattern.test(name)).map(([pattern, other]) => name.replace(pattern, other))]
  return [...all, ...all.filter((n) => prefix !== undefined && n.startsWith(prefix)).map((n) => n.slice(prefix!.length))]
}
/** Whether a model of a config has a tensor that checkpoints call so. */
export function isKnownName(config: Config, stored: string): boolean {
  const a = architectureOf(config)
  return expectedTensors(config).some(({ name }) => spellings(a, name).includes(stored))
}

/** Matches the names of a checkpoint with those that a model needs; what is missing or unknown is listed in one error. */
export function placeTensors(file: string, config: Config, names: Iterable<string>): Placed[] {
  const a = architectureOf(config), there = new Set(names)
  const spelled = (name: string): string | undefined => spellings(a, name).find((n) => there.has(n))
  const all = expectedTensors(config).map((expected) => ({ expected, stored: spelled(expected.name) }))
  const missing = all.filter(({ stored }) => stored === undefined).map(({ expected }) => expected.name)
  const used = new Set(all.map(({ stored }) => stored))
  // A tied head may be written out all the same.
  const head = config.tied && a.names.head !== undefined ? `${a.names.head}.weight` : undefined
  const unknown = [...there].filter((name) => !used.has(name) && name !== head && !(a.ignored?.test(name) ?? false))
  refuseNames(file, a.name, missing, unknown)
  return all as Placed[]
}

/** One error for all names that do not fit. */
export function refuseNames(file: string, architecture: string, missing: readonly string[], unknown: readonly string[]): void {
  if (missing.length + unknown.length === 0) return
  const part = (what: string, names: readonly string[]): string => (names.length > 0 ? `${what} ${names.join(", ")}` : "")
  fail("format", "loadModel", `${file}: ${[part("has no", missing), part("has the unknown", unknown)].filter((p) => p !== "").join("; ")}`, `the architecture is ${architecture}`)
}

/** Whether a matrix is stored as [in, out]. */
export const isTransposed = (config: Config, { kind, role }: Expected): boolean => kind === "matrix" && (architectureOf(config).transposed?.includes(role as BlockRole) ?? false)

/** The matrix [rows, columns] of elements of `width` bytes, stored as [columns, rows]. */
export function transposed(bytes: Uint8Array, rows: number, columns: number, width: number): Uint8Array {
  const out = new Uint8Array(bytes.length)
  for (let r = 0, to = 0; r < rows; r++)
    for (let c = 0; c < columns; c++)
      for (let b = 0, from = (c * rows + r) * width; b < width; b++) out[to++] = bytes[from + b]!
  return out
}

const held: Readonly<Record<string, readonly [DType, width: number]>> = { F64: ["f64", 8], F32: ["f32", 4], F16: ["f16", 2], BF16: ["bf16", 2] }

/** Reads one tensor of a model, as it is stored. */
export async function readSafetensor(file: SafetensorsFile, config: Config, { expected, stored }: Placed): Promise<readonly [string, Weight | Tensor]> {
  const entry = file.entries.get(stored)!, { kind, name, path, shape } = expected
  const [dtype, width] = held[entry.dtype] ?? fail("dtype", "loadModel", `${file.name}: tensor '${stored}' is ${entry.dtype}, and models are of floats`)
  const turned = isTransposed(config, expected), want = turned ? [...shape].reverse() : shape
  if (String(entry.shape) !== String(want)) fail("shape", "loadModel", `${file.name}: tensor '${stored}' is ${showShape(entry.shape)}, not ${showShape(want)}`, "does config.json belong to it?")
  const values = turned ? fromBytes(transposed(await file.bytes(stored), shape[0]!, shape[1]!, width), shape, dtype) : await file.tensor(stored)
  return kind === "matrix" ? [path, denseWeight(values)] : [name, values]
}

/** A matrix of a model before it is read; undefined for vectors. */
export function unreadSafetensor(file: SafetensorsFile, { expected: { kind, shape }, stored }: Placed): Unread | undefined {
  const [dtype, width] = held[file.entries.get(stored)!.dtype] ?? []
  return kind !== "matrix" || dtype === undefined ? undefined : { shape: shape as [number, number], storage: dtype, bytes: shape[0]! * shape[1]! * width! }
}
