// Small integer codes, four to a word: what the integer dot product takes. Codes that lie in bytes, or in parts of bytes,
// are taken out of a word for four neighbours at once; others are computed one by one and packed.
import { bytesOf, expr, type Expr } from "@thimble/core"
import { Statements } from "./expression.ts"
import { laneOf } from "./lanes.ts"
import type { ModuleWriter } from "./module.ts"
import type { Operand } from "./template/holes.ts"

/** Neighbours that a call gives. */
const block = 32

const everywhere = (byte: number): string => `0x${((byte & 0xff) * 0x01010101 >>> 0).toString(16)}u`
const isByte = (e: Expr): boolean => e.low >= 0 && e.high <= 255

/** A function (row, block) -> array<vec4<u32>, 2>: 32 neighbouring codes along the last axis, as bytes. */
export function packedFunction(module: ModuleWriter, name: string, { shape: [, size], body }: Operand): string {
  return module.function(`${name}_packed`, (called) => {
    const w = new Statements(module, ["i0", "i1"])
    const all = Array.from({ length: block }, (_, lane) => laneOf(body, 1, size!, block, lane))
    w.expect(all)
    const words = Array.from({ length: block / 4 }, (_, i) => {
      const four = all.slice(4 * i, 4 * i + 4)
      return w.declare(together(w, four) ?? `pack4xI8(vec4<i32>(${four.map((e) => `i32(${w.value(e)})`).join(", ")}))`)
    })
    return `fn ${called}(i0: i32, i1: i32) -> array<vec4<u32>, 2> {\n${w.lines.join("\n")}\nreturn array<vec4<u32>, 2>(vec4<u32>(${words.slice(0, 4).join(", ")}), vec4<u32>(${words.slice(4).join(", ")}));\n}`
  })
}

/** Four values modulo 256 as one word; undefined where bytes will not do. */
function together(w: Statements, four: readonly Expr[]): string | undefined {
  const [first] = four as [Expr]
  if (four.every((e) => e === first)) return first.op === "const" ? everywhere(first.value) : `(u32(${w.value(first)}) & 0xffu) * 0x01010101u`
  if (four.some((e) => e.op !== first.op || e.type === "f32" || e.type === "bool")) return undefined
  const sources = (n: number): Expr[] => four.map((e) => e.src[n]!)
  const part = (n: number): string | undefined => {
    const text = together(w, sources(n))
    return text === undefined ? undefined : `(${text})`
  }
  const both = (join: (a: string, b: string) => string): string | undefined => {
    const a = part(0), b = part(1)
    return a === undefined || b === undefined ? undefined : join(a, b)
  }
  const same = (n: number): Expr | undefined => (sources(n).every((e) => e === first.src[n]) ? first.src[n] : undefined)
  const fixed = (n: number): number | undefined => (same(n)?.op === "const" ? first.src[n]!.value : undefined)
  const bytes = sources(0).every(isByte)
  switch (first.op) {
    case "load": {
      const [at] = first.src as [Expr]
      if (bytesOf(first.dtype!) !== 1 || at.low < 0 || expr.and(at, expr.int(3)).op !== "const" || expr.and(at, expr.int(3)).value !== 0) return undefined
      if (!four.every((e, i) => e.value === first.value && isStep(e.src[0]!, at, i))) return undefined
      return w.word(first.value, expr.shr(at, expr.int(2)))
    }
    case "cast": return sources(0).every((e) => e.type === "i32" || e.type === "u32") ? together(w, sources(0)) : undefined
    case "rem": {
      const d = fixed(1), a = part(0)
      return bytes && d !== undefined && a !== undefined && d > 0 && d <= 256 && Number.isInteger(Math.log2(d)) ? `${a} & ${everywhere(d - 1)}` : undefined
    }
    case "div": case "shr": {
      const by = fixed(1), a = part(0), bits = by === undefined ? NaN : first.op === "div" ? Math.log2(by) : by
      return bytes && a !== undefined && Number.isInteger(bits) && bits >= 0 && bits < 8 ? `(${a} >> ${bits}u) & ${everywhere(0xff >> bits)}` : undefined
    }
    case "shl": case "mul": {
      const by = fixed(1), a = part(0), bits = by === undefined ? NaN : first.op === "mul" ? Math.log2(by) : by
      return a !== undefined && Number.isInteger(bits) && bits >= 0 && bits < 8 ? `(${a} & ${everywhere(0xff >> bits)}) << ${bits}u` : undefined
    }
    case "and": return both((a, b) => `${a} & ${b}`)
    case "or": return both((a, b) => `${a} | ${b}`)
    case "xor": return both((a, b) => `${a} ^ ${b}`)
    // Sums and differences byte by byte: the highest bits, through which a carry would run on, are added apart.
    case "add": return both((a, b) => (four.every((e) => isByte(e) && e.src.every(isByte)) ? `${a} + ${b}` : `((${a} & 0x7f7f7f7fu) + (${b} & 0x7f7f7f7fu)) ^ ((${a} ^ ${b}) & 0x80808080u)`))
    case "sub": return both((a, b) => `((${a} | 0x80808080u) - (${b} & 0x7f7f7f7fu)) ^ ((${a} ^ ~${b}) & 0x80808080u)`)
    case "select": {
      const condition = same(0), yes = part(1), no = part(2)
      return condition === undefined || yes === undefined || no === undefined ? undefined : `select(${no}, ${yes}, ${w.value(condition)})`
    }
    default: return undefined
  }
}
function isStep(at: Expr, first: Expr, step: number): boolean {
  const apart = expr.sub(at, first)
  return apart.op === "const" && apart.value === step
}
