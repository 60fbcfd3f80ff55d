// How each letter of the scalar alphabet is spelled in WebAssembly: one row per letter and operand type.
import type { Expr } from "@thimble/core"
import type { FunctionBuilder, FunctionRef, PlainOp } from "./assembler.ts"
import type { HostFunction } from "./expression.ts"

type Row = Partial<Record<Expr["type"], readonly PlainOp[]>>

/** Instructions after the operands, by the type of the first operand. */
const scalarRows: Partial<Record<Expr["op"], Row>> = {
  neg: { f32: ["f32.neg"], f64: ["f64.neg"] },
  abs: { f32: ["f32.abs"], f64: ["f64.abs"] },
  sqrt: { f32: ["f32.sqrt"], f64: ["f64.sqrt"] },
  floor: { f32: ["f32.floor"], f64: ["f64.floor"] },
  ceil: { f32: ["f32.ceil"], f64: ["f64.ceil"] },
  round: { f32: ["f32.nearest"], f64: ["f64.nearest"] },
  trunc: { f32: ["f32.trunc"], f64: ["f64.trunc"] },
  not: { bool: ["i32.eqz"] },
  add: { f32: ["f32.add"], f64: ["f64.add"], i32: ["i32.add"], u32: ["i32.add"] },
  sub: { f32: ["f32.sub"], f64: ["f64.sub"], i32: ["i32.sub"], u32: ["i32.sub"] },
  mul: { f32: ["f32.mul"], f64: ["f64.mul"], i32: ["i32.mul"], u32: ["i32.mul"] },
  div: { f32: ["f32.div"], f64: ["f64.div"] },
  min: { f32: ["f32.min"], f64: ["f64.min"] },
  max: { f32: ["f32.max"], f64: ["f64.max"], bool: ["i32.or"] },
  and: { i32: ["i32.and"], u32: ["i32.and"], bool: ["i32.and"] },
  or: { i32: ["i32.or"], u32: ["i32.or"], bool: ["i32.or"] },
  xor: { i32: ["i32.xor"], u32: ["i32.xor"], bool: ["i32.xor"] },
  shl: { i32: ["i32.shl"], u32: ["i32.shl"] },
  shr: { i32: ["i32.shr_s"], u32: ["i32.shr_u"] },
  lt: { f32: ["f32.lt"], f64: ["f64.lt"], i32: ["i32.lt_s"], u32: ["i32.lt_u"], bool: ["i32.lt_u"] },
  le: { f32: ["f32.le"], f64: ["f64.le"], i32: ["i32.le_s"], u32: ["i32.le_u"], bool: ["i32.le_u"] },
  eq: { f32: ["f32.eq"], f64: ["f64.eq"], i32: ["i32.eq"], u32: ["i32.eq"], bool: ["i32.eq"] },
}

const vectorRows: Partial<Record<Expr["op"], Row>> = {
  neg: { f32: ["f32x4.neg"] },
  abs: { f32: ["f32x4.abs"], i32: ["i32x4.abs"] },
  sqrt: { f32: ["f32x4.sqrt"] },
  floor: { f32: ["f32x4.floor"] },
  ceil: { f32: ["f32x4.ceil"] },
  round: { f32: ["f32x4.nearest"] },
  trunc: { f32: ["f32x4.trunc"] },
  not: { bool: ["v128.not"], i32: ["v128.not"], u32: ["v128.not"] },
  add: { f32: ["f32x4.add"], i32: ["i32x4.add"], u32: ["i32x4.add"] },
  sub: { f32: ["f32x4.sub"], i32: ["i32x4.sub"], u32: ["i32x4.sub"] },
  mul: { f32: ["f32x4.mul"], i32: ["i32x4.mul"], u32: ["i32x4.mul"] },
  div: { f32: ["f32x4.div"] },
  min: { f32: ["f32x4.min"], i32: ["i32x4.min_s"], u32: ["i32x4.min_u"], bool: ["v128.and"] },
  max: { f32: ["f32x4.max"], i32: ["i32x4.max_s"], u32: ["i32x4.max_u"], bool: ["v128.or"] },
  and: { i32: ["v128.and"], u32: ["v128.and"], bool: ["v128.and"] },
  or: { i32: ["v128.or"], u32: ["v128.or"], bool: ["v128.or"] },
  xor: { i32: ["v128.xor"], u32: ["v128.xor"], bool: ["v128.xor"] },
  lt: { f32: ["f32x4.lt"], i32: ["i32x4.lt_s"], u32: ["i32x4.lt_u"] },
  le: { f32: ["f32x4.le"], i32: ["i32x4.le_s"], u32: ["i32x4.le_u"] },
  eq: { f32: ["f32x4.eq"], i32: ["i32x4.eq"], u32: ["i32x4.eq"], bool: ["i32x4.eq"] },
  bitcast: { f32: [], i32: [], u32: [] },
}

const casts: Record<string, readonly PlainOp[]> = {
  "f32 i32": ["i32.trunc_sat_f32_s"], "f32 u32": ["i32.trunc_sat_f32_u"], "f32 f64": ["f64.promote_f32"],
  "f64 i32": ["i32.trunc_sat_f64_s"], "f64 u32": ["i32.trunc_sat_f64_u"], "f64 f32": ["f32.demote_f64"],
  "i32 f32": ["f32.convert_i32_s"], "i32 f64": ["f64.convert_i32_s"], "i32 u32": [], "i32 bool": ["i32.eqz", "i32.eqz"],
  "u32 f32": ["f32.convert_i32_u"], "u32 f64": ["f64.convert_i32_u"], "u32 i32": [], "u32 bool": ["i32.eqz", "i32.eqz"],
  "bool f32": ["f32.convert_i32_u"], "bool f64": ["f64.convert_i32_u"], "bool i32": [], "bool u32": [],
}
const vectorCasts: Record<string, readonly PlainOp[]> = {
  "f32 i32": ["i32x4.trunc_sat_f32x4_s"], "f32 u32": ["i32x4.trunc_sat_f32x4_u"],
  "i32 f32": ["f32x4.convert_i32x4_s"], "u32 f32": ["f32x4.convert_i32x4_u"], "i32 u32": [], "u32 i32": [],
}

/** Pushes one element of `e`; `go` pushes its sources. */
export function scalarSpelling(f: FunctionBuilder, host: Readonly<Record<HostFunction, FunctionRef>>, e: Expr, go: (s: Expr) => void): void {
  const [a, b, c] = e.src as [Expr, Expr, Expr]
  const all = (): void => e.src.forEach(go)
  const row = scalarRows[e.op]?.[a.type]
  if (row) {
    all()
    return f.op(...row)
  }
  const wide = a.type === "f64"
  if (e.type === "f32" || e.type === "f64") {
    if (e.op in host) {
      for (const s of e.src) {
        go(s)
        if (!wide) f.op("f64.promote_f32")
      }
      f.call(host[e.op as HostFunction])
      if (!wide) f.op("f32.demote_f64")
      return
    }
  }
  switch (e.op) {
    case "cast":
      go(a)
      if (e.type === "bool" && (a.type === "f32" || wide)) {
        if (wide) f.f64(0)
        else f.f32(0)
        return f.op(wide ? "f64.ne" : "f32.ne")
      }
      return f.op(...casts[`${a.type} ${e.type}`]!)
    case "bitcast":
      go(a)
      if (e.type === "f32") f.op("f32.reinterpret_i32")
      else if (a.type === "f32") f.op("i32.reinterpret_f32")
      return
    case "select":
      go(b)
      go(c)
      go(a)
      return f.op("select")
    case "not":
      go(a)
      f.i32(-1)
      return f.op("i32.xor")
    case "abs":
      go(a)
      go(a)
      f.i32(31)
      f.op("i32.shr_s", "i32.xor")
      go(a)
      f.i32(31)
      f.op("i32.shr_s", "i32.sub")
      return
    case "store":
      go(a)
      if (e.dtype === "i8") f.op("i32.extend8_s")
      else if (e.dtype === "i16") f.op("i32.extend16_s")
      else {
        f.i32(e.dtype === "u8" ? 0xff : 0xffff)
        f.op("i32.and")
      }
      return
    case "min": case "max": {
      const less = a.type === "i32" ? "i32.lt_s" : "i32.lt_u"
      const [first, second] = e.op === "min" ? [a, b] : [b, a]
      go(a)
      go(b)
      go(first)
      go(second)
      return f.op(less, "select")
    }
    case "div": case "rem": return integerDivision(f, e, go)
    default: throw new Error(`no spelling for ${e.op} on ${a.type}`)
  }
}

/** Neither instruction may trap: a zero divisor gives 0, and the smallest integer by -1 wraps. */
function integerDivision(f: FunctionBuilder, e: Expr, go: (s: Expr) => void): void {
  const [a, b] = e.src as [Expr, Expr]
  const signed = e.type === "i32"
  const instruction: PlainOp = e.op === "div" ? (signed ? "i32.div_s" : "i32.div_u") : signed ? "i32.rem_s" : "i32.rem_u"
  if (b.op === "const" && b.value > 0) {
    go(a)
    go(b)
    // What index arithmetic divides is never negative.
    return f.op(a.low >= 0 ? (e.op === "div" ? "i32.div_u" : "i32.rem_u") : instruction)
  }
  const divisor = f.local("i32"), dividend = f.local("i32")
  go(b)
  f.set(divisor)
  go(a)
  f.set(dividend)
  f.get(divisor)
  f.op("i32.eqz")
  f.if(() => f.i32(0), () => {
    const plain = (): void => {
      f.get(dividend)
      f.get(divisor)
      f.op(instruction)
    }
    if (!signed || e.op === "rem") return plain()
    f.get(divisor)
    f.i32(-1)
    f.op("i32.eq")
    f.if(() => {
      f.i32(0)
      f.get(dividend)
      f.op("i32.sub")
    }, plain, "i32")
  }, "i32")
}

/** min and max with a constant, which a NaN gets through: f32x4.min and max are ten instructions in V8. */
function boundSpelling(f: FunctionBuilder, { op, src: [x, c] }: Expr, go: (s: Expr) => void): boolean {
  if (x!.op === "const") [x, c] = [c, x]
  if (c!.op !== "const" || c!.type !== "f32" || Number.isNaN(c!.value) || Object.is(c!.value, -0)) return false
  go(x!)
  if (c!.value === 0) {
    const local = f.local("v128")
    f.tee(local); f.get(local)
    // Clears what lies beyond zero; the order of the zeros is that of max(-0, 0) = 0 and min(-0, 0) = -0.
    f.f32x4(0)
    f.op(op === "max" ? "f32x4.le" : "f32x4.gt", "v128.andnot")
  } else {
    go(c!)
    f.op(op === "max" ? "f32x4.pmax" : "f32x4.pmin")
  }
  return true
}

/** Shifts the vector on the stack by the count behind it, as `e` says. */
export function shiftVector(f: FunctionBuilder, e: Expr): void {
  f.op(e.op === "shl" ? "i32x4.shl" : e.type === "u32" ? "i32x4.shr_u" : "i32x4.shr_s")
}

/** Pushes four elements of `e` if there are vector instructions for it. */
export function vectorSpelling(f: FunctionBuilder, e: Expr, relaxed: boolean, go: (s: Expr) => void): boolean {
  const [a, b, c] = e.src as [Expr, Expr, Expr]
  if (a.type === "f64" || e.type === "f64") return false
  if ((e.op === "min" || e.op === "max") && e.type === "f32" && boundSpelling(f, e, go)) return true
  if (e.op === "not" && a.op === "eq" && a.src[0]!.type === "f32") {
    a.src.forEach(go)
    f.op("f32x4.ne")
    return true
  }
  const row = vectorRows[e.op]?.[a.type]
  if (row) {
    e.src.forEach(go)
    if (row.length) f.op(...row)
    return true
  }
  switch (e.op) {
    case "select": {
      // select(p < q, p, q) is one instruction (pmin), and needs neither of NaN's rules.
      if (e.type === "f32" && a.op === "lt" && a.src[0] === b && a.src[1] === c) {
        go(c)
        go(b)
        f.op("f32x4.pmin")
        return true
      }
      if (e.type === "f32" && a.op === "lt" && a.src[0] === c && a.src[1] === b) {
        go(c)
        go(b)
        f.op("f32x4.pmax")
        return true
      }
      const isZero = (s: Expr): boolean => s.op === "const" && Object.is(s.value, 0)
      if (isZero(b) || isZero(c)) {
        go(isZero(b) ? c : b)
        go(a)
        f.op(isZero(b) ? "v128.andnot" : "v128.and")
        return true
      }
      go(b)
      go(c)
      go(a)
      // Masks are all ones or all zeros, so the relaxed instruction is exact, and one in place of three.
      f.op(relaxed ? "i32x4.relaxed_laneselect" : "v128.bitselect")
      return true
    }
    case "cast": {
      if (a.type === "bool") {
        go(a)
        if (e.type === "f32") f.f32x4(1)
        else f.i32x4(1)
        f.op("v128.and")
        return true
      }
      if (e.type === "bool") {
        go(a)
        if (a.type === "f32") f.f32x4(0)
        else f.i32x4(0)
        f.op(a.type === "f32" ? "f32x4.ne" : "i32x4.ne")
        return true
      }
      go(a)
      const ops = vectorCasts[`${a.type} ${e.type}`]!
      if (ops.length) f.op(...ops)
      return true
    }
    case "shl": case "shr":
      if (b.op !== "const") return false
      go(a)
      f.i32(b.value)
      shiftVector(f, e)
      return true
    case "store": {
      go(a)
      const bits = e.dtype === "i8" || e.dtype === "u8" ? 24 : 16
      f.i32(bits)
      f.op("i32x4.shl")
      f.i32(bits)
      f.op(e.dtype === "i8" || e.dtype === "i16" ? "i32x4.shr_s" : "i32x4.shr_u")
      return true
    }
    case "div":
      // Unsigned division by a power of two; other divisors have no instruction.
      if (!(b.op === "const" && a.low >= 0 && Number.isInteger(Math.log2(b.value)))) return false
      go(a)
      f.i32(Math.log2(b.value))
      f.op("i32x4.shr_u")
      return true
    default: return false
  }
}
