import { isFloat, type DType } from "../dtype.ts"
import { fail } from "../errors.ts"
import type { Tensor } from "../tensor.ts"
import { castTo } from "./elementwise.ts"

const wide: Partial<Record<DType, DType>> = { bool: "i32", i8: "i32", i16: "i32", u8: "i32", u16: "i32" }
/** The type that elements add up in: i32 for small integers and bool. */
export const widen = (x: Tensor): Tensor => castTo(x, wide[x.dtype] ?? x.dtype)

/** Floats in the type that reductions of several steps compute in: f32, or f64 for f64. */
export function wideFloat(op: string, x: Tensor): Tensor {
  if (!isFloat(x.dtype)) fail("dtype", op, `needs floats, got ${x.dtype}`, "cast to f32 first")
  return castTo(x, x.dtype === "f64" ? "f64" : "f32")
}
