// Writes expressions of the scalar alphabet as WGSL statements: one `let` per shared value, words of memory read once.
import { bytesOf, expr, fail, flatten, type DType, type Expr, type Scalar } from "@thimble/core"
import type { ModuleWriter } from "./module.ts"
import { spelling } from "./spelling.ts"

/** WGSL's name of a scalar type. */
export function typeName(type: Scalar): "f32" | "i32" | "u32" | "bool" {
  return type === "f64" ? fail("dtype", "webgpu", "has no f64", "cast to f32, or compute on the wasm device") : type
}

/** Longer texts get a name, so that expressions do not nest without end. */
const longest = 160

/** Writes one straight piece of code: a function, or the body of a loop within it. */
export class Statements {
  readonly module: ModuleWriter
  readonly lines: string[] = []
  /** Lines that read memory, the names they give what they read, and whether that is four words. */
  readonly loads: { readonly line: number; readonly name: string; readonly wide: boolean }[] = []
  private readonly names: Map<Expr, string>
  private readonly words: Map<string, string>
  private readonly uses = new Map<Expr, number>()
  private readonly axes: readonly string[]
  private readonly accumulators: readonly string[]

  /** `axes`: names of the coordinates; `outer`: code around this one, whose values can be used. */
  constructor(module: ModuleWriter, axes: readonly string[], { accumulators = [], outer }: { readonly accumulators?: readonly string[]; readonly outer?: Statements } = {}) {
    this.module = module
    this.axes = axes
    this.accumulators = accumulators
    this.names = new Map(outer?.names)
    this.words = new Map(outer?.words)
  }

  /** Announces what will be asked for, so that values used several times get a name. */
  expect(roots: readonly Expr[]): void {
    for (const e of flatten(roots)) for (const s of e.src) this.uses.set(s, (this.uses.get(s) ?? 0) + 1)
  }
  /** The text of a value; statements before it are in `lines`. */
  value(e: Expr): string {
    if (e.op === "const") return constantText(e, this.module)
    if (e.op === "index") return this.axes[e.value] ?? fail("internal", "webgpu", `no coordinate ${e.value}`)
    if (e.op === "acc") return this.accumulators[e.value] ?? fail("internal", "webgpu", "no accumulator here")
    const known = this.names.get(e)
    if (known !== undefined) return known
    typeName(e.type)
    const text = e.op === "scalar" ? this.module.scalar(e.type, e.value) : e.op === "load" ? this.load(e) : spelling[e.op](this, e)
    if (this.uses.get(e) === 1 && text.length < longest) {
      this.names.set(e, text)
      return text
    }
    return this.name(e, text)
  }
  /** A value as a variable, which no compiler takes for a constant expression. */
  variable(e: Expr): string {
    return e.op === "const" ? this.declare(constantText(e, this.module)) : this.value(e)
  }
  /** A constant of f32 that is made at run time. */
  hidden({ value }: Expr): string {
    float[0] = value
    return `${this.module.math("special")}(0x${word[0]!.toString(16)}u)`
  }
  declare(text: string): string {
    const name = this.module.fresh("v")
    this.lines.push(`let ${name} = ${text};`)
    return name
  }
  private name(e: Expr, text: string): string {
    const name = this.declare(text)
    this.names.set(e, name)
    return name
  }

  private load(e: Expr): string {
    const { value: parameter, dtype } = e as Expr & { dtype: DType }
    const [at] = e.src as [Expr]
    const bytes = bytesOf(dtype)
    if (bytes >= 4) return asScalar(e.type, this.word(parameter, at))
    const log = bytes === 2 ? 1 : 2, per = 4 / bytes
    const word = this.word(parameter, expr.shr(at, expr.int(log)))
    const place = expr.and(at, expr.int(per - 1))
    const bits = 8 * bytes
    const shift = place.op === "const" ? `${place.value * bits}u` : `(u32(${this.value(place)}) * ${bits}u)`
    if (dtype === "bf16") return `bitcast<f32>(${place.op === "const" ? (place.value === 0 ? `${word} << 16u` : `${word} & 0xffff0000u`) : `(${word} >> ${shift}) << 16u`})`
    if (dtype === "f16" && this.module.features.numbers.exactHalves)
      return place.op === "const" ? `${this.once(`${word} halves`, () => `unpack2x16float(${word})`)}.${"xy"[place.value]!}` : `unpack2x16float(${word} >> ${shift}).x`
    if (dtype === "i8" || dtype === "i16") return `extractBits(bitcast<i32>(${word}), ${shift}, ${bits}u)`
    const part = `extractBits(${word}, ${shift}, ${bits}u)`
    if (dtype === "f16") return fromHalf(this.module, part)
    return dtype === "bool" ? `(${part} != 0u)` : part
  }
  private once(key: string, text: () => string, first: (name: string) => void = () => {}): string {
    let known = this.words.get(key)
    if (known === undefined) {
      this.words.set(key, (known = this.declare(text())))
      first(known)
    }
    return known
  }
  private loaded(key: string, text: () => string, wide: boolean): string {
    return this.once(key, text, (name) => void this.loads.push({ line: this.lines.length - 1, name, wide }))
  }
  /** A word of a parameter as u32; neighbours that begin at a multiple of four are read together where the module reads so. */
  word(parameter: number, at: Expr): string {
    const { module } = this
    const place = expr.and(at, expr.int(3)), quad = expr.shr(at, expr.int(2))
    const fixed = place.op === "const" && at.low >= 0
    if (fixed) module.noteQuad(parameter, quad, place.value)
    if (!module.isWide(parameter)) return this.loaded(`${parameter} ${at.id}`, () => module.read(parameter, this.value(at)), false)
    if (fixed) return `${this.loaded(`${parameter} quad ${quad.id}`, () => module.readQuad(parameter, this.value(quad)), true)}[${place.value}]`
    return this.once(`${parameter} ${at.id}`, () => `${module.readQuad(parameter, this.value(quad))}[${this.value(place)}]`)
  }
}

/** 32 bits as a scalar. */
export const asScalar = (type: Scalar, word: string): string => (type === "u32" ? word : `bitcast<${typeName(type)}>(${word})`)

/** The value of an f16 whose bits are the low ones of a u32, the others being zero. */
export const fromHalf = (module: ModuleWriter, bits: string): string =>
  module.features.numbers.exactHalves ? `unpack2x16float(${bits}).x` : `${module.math("fromF16")}(${bits})`

/** A value as the bits in which a dtype stores it, in the low end of a u32. */
export function asBits(module: ModuleWriter, dtype: DType, value: string): string {
  switch (dtype) {
    case "u32": return value
    case "f32": case "i32": return `bitcast<u32>(${value})`
    case "f16": return `${module.math("toF16")}(${value})`
    case "bf16": return `${module.math("toBf16")}(${value})`
    case "bool": return `select(0u, 1u, ${value})`
    case "u8": case "u16": return `(${value} & ${dtype === "u8" ? "0xffu" : "0xffffu"})`
    case "i8": case "i16": return `(bitcast<u32>(${value}) & ${dtype === "i8" ? "0xffu" : "0xffffu"})`
    case "f64": return fail("dtype", "webgpu", "has no f64", "cast to f32, or compute on the wasm device")
  }
}

const float = new Float32Array(1), word = new Uint32Array(float.buffer)

function constantText({ type, value }: Expr, module: ModuleWriter): string {
  if (type === "bool") return value ? "true" : "false"
  if (type === "u32") return `${value}u`
  if (type === "i32") return value === -2147483648 ? "bitcast<i32>(0x80000000u)" : value < 0 ? `(${value}i)` : `${value}i`
  float[0] = value
  const bits = `0x${word[0]!.toString(16)}u`
  if (!Number.isFinite(value)) return `${module.math("special")}(${bits})`
  // Decimals of subnormal numbers and of -0 are read in more than one way.
  if (Math.abs(value) < 2 ** -126 && !Object.is(value, 0)) return `bitcast<f32>(${bits})`
  return value < 0 ? `(${value}f)` : `${value}f`
}

/** A kernel's result before it is narrowed to the type it is stored in. */
export const beforeStore = (e: Expr, dtype: DType): Expr => (e.op === "store" && e.dtype === dtype ? e.src[0]! : e)
