import { expect, test } from "vitest"
import {
  add, bitwiseAnd, castTo, celu, clamp, hardtanh, leftShift, lerp, not, pow, remainder, softplus, tensor, ThimbleError, where, type ErrorCode, type Tensor,
} from "../src/index.ts"

const f = tensor([1, 2]), i = tensor([1, 2], { dtype: "i32" }), b = tensor([true, false])

const refused: readonly [ErrorCode, string, () => unknown][] = [
  ["shape", "add: shapes do not broadcast, [2] with [3] (axis -1: 2 ≠ 3); sizes must be equal or 1", () => add(f, tensor([1, 2, 3]))],
  ["value", "add: needs a tensor or a number, got string", () => add(f, "1" as unknown as number)],
  ["value", "add: 3000000000 does not fit i32; cast the tensor to f32 or f64", () => add(i, 3e9)],
  ["dtype", "cast: unknown dtype 'f8'; one of f64, f32, f16, bf16, i32, u32, i16, u16, i8, u8, bool", () => castTo(f, "f8" as "f32")],
  ["dtype", "where: the condition must be bool, got f32; compare it with something", () => where(f, 1, f)],
  ["dtype", "not: does not take f32; compare it, or cast it to an integer type", () => not(f)],
  ["dtype", "bitwiseAnd: does not take f32; compare it, or cast it to an integer type", () => bitwiseAnd(f, i)],
  ["dtype", "leftShift: does not take bool; cast it to an integer type", () => leftShift(b, b)],
  ["dtype", "remainder: does not take bool; cast it to i32 or f32 first", () => remainder(b, b)],
  ["dtype", "sub: does not take bool; cast it to i32 or f32 first", () => lerp(b, b, 0.5)],
  ["value", "clamp: a bound is NaN", () => clamp(f, NaN)],
  ["value", "clamp: bound 0.5 is not a whole number, and x is i32; round it, or cast x to f32", () => clamp(i, 0, 0.5)],
  ["dtype", "clamp: does not take bool; cast it to i32 or f32 first", () => clamp(b, 0, 1)],
  ["value", "hardtanh: needs min below max, got 1 and 1", () => hardtanh(f, 1, 1)],
  ["value", "celu: alpha must not be 0", () => celu(f, 0)],
  ["value", "softplus: beta must not be 0", () => softplus(f, { beta: 0 })],
  ["shape", "pow: shapes do not broadcast, [2] with [3] (axis -1: 2 ≠ 3); sizes must be equal or 1", () => pow(f, tensor([1, 2, 3]))],
]
test.each(refused)("%s: %s", (code, message, call) => {
  const error = caught(call)
  expect([error.code, error.message]).toEqual([code, message])
})

function caught(call: () => unknown): ThimbleError {
  try {
    call()
  } catch (e) {
    if (e instanceof ThimbleError) return e
  }
  throw new Error("was not refused")
}

test("a disposed operand is refused by name", () => {
  const x: Tensor = tensor([1])
  x.dispose()
  expect(() => add(x, 1)).toThrow("add: operand f32[1] was disposed; keep it until its last use, or return it from the scope")
})
