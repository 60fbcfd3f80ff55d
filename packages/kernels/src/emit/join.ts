// How a reduction joins two values, and what it starts from.
import type { Combine, Scalar } from "@thimble/core"
import type { FunctionBuilder, Local, PlainOp, ValueType } from "./assembler.ts"

type Joins = Record<Combine, readonly PlainOp[]>
const scalarJoin: Record<Scalar, Joins> = {
  f32: { add: ["f32.add"], mul: ["f32.mul"], max: ["f32.max"] },
  f64: { add: ["f64.add"], mul: ["f64.mul"], max: ["f64.max"] },
  i32: { add: ["i32.add"], mul: ["i32.mul"], max: [] },
  u32: { add: ["i32.add"], mul: ["i32.mul"], max: [] },
  bool: { add: ["i32.or"], mul: ["i32.and"], max: ["i32.or"] },
}
export const vectorJoin: Record<Exclude<Scalar, "f64">, Joins> = {
  f32: { add: ["f32x4.add"], mul: ["f32x4.mul"], max: ["f32x4.max"] },
  i32: { add: ["i32x4.add"], mul: ["i32x4.mul"], max: ["i32x4.max_s"] },
  u32: { add: ["i32x4.add"], mul: ["i32x4.mul"], max: ["i32x4.max_u"] },
  bool: { add: ["v128.or"], mul: ["v128.and"], max: ["v128.or"] },
}
export const valueType = (t: Scalar): ValueType => (t === "f32" ? "f32" : t === "f64" ? "f64" : "i32")

/** total = total joined with value. */
export function join(f: FunctionBuilder, combine: Combine, type: Scalar, total: Local, value: Local): void {
  f.get(total)
  f.get(value)
  const ops = scalarJoin[type][combine]
  if (ops.length > 0) f.op(...ops)
  else {
    f.get(total)
    f.get(value)
    f.op(type === "i32" ? "i32.gt_s" : "i32.gt_u", "select")
  }
  f.set(total)
}

export function identity(f: FunctionBuilder, combine: Combine, type: Scalar, lanes: 1 | 4): void {
  const value = combine === "add" ? 0 : combine === "mul" ? 1 : type === "f32" || type === "f64" ? -Infinity : type === "i32" ? -2147483648 : 0
  if (lanes === 4) {
    if (type === "f32") f.f32x4(value)
    else f.i32x4(type === "bool" && value === 1 ? -1 : value)
  } else if (type === "f32") f.f32(value)
  else if (type === "f64") f.f64(value)
  else f.i32(value)
}
