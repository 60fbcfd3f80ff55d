import { fail, showShape, type Part, type TypedArray } from "@thimble/core"
import { fileDType, heldBy, type FileDType, type StoredArray } from "../safetensors-header.ts"

/** A tensor as a file stores it. */
export interface StoredTensor { readonly dtype: FileDType; readonly shape: readonly number[]; readonly data: StoredArray }
/** The tensors of one module, by what follows its name and a dot. */
export type StoredModule = Readonly<Record<string, StoredTensor>>
/** Fields of a config.json. */
export type Settings = Readonly<Record<string, unknown>>

/** Takes the tensors of a module one by one, and refuses what does not fit. */
export class ModuleReader {
  readonly op: string
  readonly module: string
  private readonly stored: StoredModule
  constructor(op: string, module: string, stored: StoredModule) {
    this.op = op
    this.module = module
    this.stored = stored
  }

  refuse(problem: string, hint?: string): never {
    return fail("format", this.op, `'${this.module}' ${problem}`, hint)
  }
  has(name: string): boolean {
    return Object.hasOwn(this.stored, name)
  }
  /** A tensor of one of these types; the shape, where it is given, may leave sizes open (-1). */
  take(name: string, types: readonly FileDType[], shape?: readonly number[]): StoredTensor {
    const found = this.has(name) ? this.stored[name]! : this.refuse(`has no tensor '${name}'`, `it has ${Object.keys(this.stored).join(", ")}`)
    const fits = shape === undefined || (found.shape.length === shape.length && shape.every((n, i) => n < 0 || n === found.shape[i]))
    if (!types.includes(found.dtype) || !fits) this.refuse(`has a tensor '${name}' of ${found.dtype}${showShape(found.shape)}, not ${types.join(" or ")}${shape === undefined ? "" : showShape(shape).replaceAll("-1", "?")}`, "does config.json belong to it?")
    return found
  }
  words(name: string, shape: readonly number[]): Int32Array {
    return this.take(name, ["I32"], shape).data as Int32Array
  }
  floats(name: string, shape: readonly number[]): Part {
    const { dtype, shape: own, data } = this.take(name, ["F16", "BF16", "F32"], shape)
    return { data: data as TypedArray, shape: own, dtype: heldBy(dtype)! }
  }
}

export const stored = (dtype: FileDType, shape: readonly number[], data: StoredArray): StoredTensor => ({ dtype, shape, data })
export const storedPart = ({ data, shape, dtype }: Part): StoredTensor => ({ dtype: fileDType(dtype), shape, data })

/** A field of settings that must be one of these. */
export function chosen<T>(op: string, json: Settings, key: string, from: readonly T[], fallback?: T): T {
  const value = json[key] ?? fallback
  return from.includes(value as T) ? (value as T) : fail("format", op, `quantization_config: '${key}' is ${JSON.stringify(json[key])}`, `known are ${from.map((v) => JSON.stringify(v)).join(", ")}`)
}
/** Neighbours that share a scale; -1 stands for whole rows. */
export function groupSize(op: string, json: Settings, key: string, fallback?: number): number {
  const value = json[key] ?? fallback
  if (value === -1) return Infinity
  return Number.isInteger(value) && (value as number) >= 1 ? (value as number) : fail("format", op, `quantization_config: '${key}' is ${JSON.stringify(json[key])}, not a whole number from 1, or -1`)
}
/** Names in a field that may be missing. */
export function names(op: string, json: Settings, key: string): readonly string[] {
  const value = json[key] ?? []
  return Array.isArray(value) && value.every((v) => typeof v === "string") ? value : fail("format", op, `quantization_config: '${key}' is ${JSON.stringify(value)}, not a list of names`)
}
