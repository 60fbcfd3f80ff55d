import { fail } from "@thimble/core"
import type { GgufValue } from "@thimble/formats"

/** Typed reading of a GGUF file's metadata under the name of its architecture. */
export class GgufFields {
  private readonly file: string
  private readonly metadata: ReadonlyMap<string, GgufValue>
  private readonly prefix: string
  constructor(file: string, metadata: ReadonlyMap<string, GgufValue>, prefix: string) {
    this.file = file
    this.metadata = metadata
    this.prefix = prefix
  }
  refuse(key: string, problem: string): never {
    return fail("format", "gguf", `${this.file}: '${this.prefix}${key}' ${problem}`)
  }
  has(key: string): boolean {
    return this.metadata.has(this.prefix + key)
  }
  number(key: string, fallback?: number): number {
    const value = this.metadata.get(this.prefix + key)
    if (value === undefined) return fallback ?? this.refuse(key, "is missing")
    // Some keys may have a number per layer; here they must be the same for all.
    if (value.type === "array" && value.of !== "string" && value.of !== "bool" && value.of !== "array") {
      const all = Array.from(value.value as ArrayLike<number | bigint>, Number)
      return all.length > 0 && all.every((n) => n === all[0]) ? all[0]! : this.refuse(key, "differs between layers, which is not known")
    }
    return typeof value.value === "number" || typeof value.value === "bigint" ? Number(value.value) : this.refuse(key, `is of type ${value.type}, not a number`)
  }
  /** A whole number from 1 for each layer: one for all, or a list. */
  counts(key: string, layers: number, fallback?: readonly number[]): readonly number[] {
    const value = this.metadata.get(this.prefix + key)
    if (value === undefined && fallback !== undefined) return fallback
    if (value?.type !== "array" || value.of === "string" || value.of === "bool" || value.of === "array") return Array.from({ length: layers }, () => this.count(key))
    const all = Array.from(value.value as ArrayLike<number | bigint>, Number)
    if (all.length !== layers) this.refuse(key, `has ${all.length} elements for ${layers} layers`)
    return all.every((n) => Number.isInteger(n) && n >= 1 && n < 2 ** 31) ? all : this.refuse(key, `is ${all.join(", ")}, not whole numbers from 1`)
  }
  count(key: string, fallback?: number, most = 2 ** 31 - 1): number {
    const n = this.number(key, fallback)
    return Number.isInteger(n) && n >= 1 && n <= most ? n : this.refuse(key, `is ${n}, not a whole number from 1 to ${most}`)
  }
  text(key: string, fallback?: string): string {
    const value = this.metadata.get(this.prefix + key)
    if (value === undefined) return fallback ?? this.refuse(key, "is missing")
    return value.type === "string" ? value.value : this.refuse(key, `is of type ${value.type}, not a string`)
  }
  flag(key: string, fallback: boolean): boolean {
    const value = this.metadata.get(this.prefix + key)
    if (value === undefined) return fallback
    return value.type === "bool" ? value.value : this.refuse(key, `is of type ${value.type}, not a bool`)
  }
}
