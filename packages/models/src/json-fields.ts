import { fail } from "@thimble/core"

/** The fields of a config.json. */
export type Json = Readonly<Record<string, unknown>>

/** Typed reading of a config.json. What is there is checked; what is not there takes its default, or is refused. */
export class JsonFields {
  private readonly json: Json
  private readonly file: string
  constructor(json: Json, file = "config.json") {
    this.json = json
    this.file = file
  }

  refuse(key: string, problem: string): never {
    return fail("format", "config", `${this.file}: '${key}' ${problem}`)
  }
  has(key: string): boolean {
    return Object.hasOwn(this.json, key)
  }
  get(key: string): unknown {
    return this.has(key) ? this.json[key] : undefined
  }
  private read<T>(key: string, fallback: T | undefined, is: (v: unknown) => v is T, what: string): T {
    const value = this.get(key) ?? undefined
    if (value === undefined) return fallback ?? this.refuse(key, "is missing")
    return is(value) ? value : this.refuse(key, `is ${JSON.stringify(value)}, not ${what}`)
  }
  number(key: string, fallback?: number): number {
    return this.read(key, fallback, (v): v is number => typeof v === "number" && Number.isFinite(v), "a number")
  }
  /** A whole number from 1. */
  count(key: string, fallback?: number, most = 2 ** 31 - 1): number {
    const n = this.number(key, fallback)
    return Number.isInteger(n) && n >= 1 && n <= most ? n : this.refuse(key, `is ${n}, not a whole number from 1 to ${most}`)
  }
  /** A whole number from 1 for each layer: one for all, or a list. */
  counts(key: string, layers: number, fallback?: readonly number[]): readonly number[] {
    const value = this.get(key) ?? undefined
    if (value === undefined) return fallback ?? this.refuse(key, "is missing")
    if (!Array.isArray(value)) return Array.from({ length: layers }, () => this.count(key))
    if (value.length !== layers) this.refuse(key, `has ${value.length} elements for ${layers} layers`)
    return value.every((n): n is number => Number.isInteger(n) && n >= 1 && n < 2 ** 31) ? value : this.refuse(key, `is ${JSON.stringify(value)}, not whole numbers from 1`)
  }
  flag(key: string, fallback?: boolean): boolean {
    return this.read(key, fallback, (v) => typeof v === "boolean", "true or false")
  }
  text(key: string, fallback?: string): string {
    return this.read(key, fallback, (v) => typeof v === "string", "a string")
  }
  numbers(key: string, fallback?: readonly number[]): readonly number[] {
    return this.read(key, fallback, (v): v is readonly number[] => Array.isArray(v) && v.every((n) => typeof n === "number" && Number.isFinite(n)), "numbers")
  }
  object(key: string): JsonFields | undefined {
    const value = this.get(key) ?? undefined
    if (value === undefined) return undefined
    return typeof value === "object" && !Array.isArray(value) ? new JsonFields(value as Json, `${this.file}: ${key}`) : this.refuse(key, "is no object")
  }
  /** Ids of tokens: one, several, or none. */
  ids(key: string): number[] | undefined {
    const value = this.get(key) ?? undefined
    if (value === undefined) return undefined
    const list: unknown[] = Array.isArray(value) ? value : [value]
    // Some files say -1 for none.
    return list.every((id): id is number => Number.isInteger(id)) ? (list.some((id) => id < 0) ? undefined : list) : this.refuse(key, `is ${JSON.stringify(value)}, not an id`)
  }
}
