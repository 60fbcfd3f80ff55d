// f16 as it is stored: eight neighbours are sixteen bytes, which a matrix of a subgroup takes as they are.
import { expr, fail } from "@thimble/core"
import { Statements } from "./expression.ts"
import { laneOf } from "./lanes.ts"
import type { ModuleWriter } from "./module.ts"
import type { Operand } from "./template/holes.ts"

const lanes = 8

/** Whether an operand is nothing but f16 in memory, eight neighbours along `axis` in sixteen bytes of their own. */
export function hasHalves({ shape, body }: Operand, axis: number): boolean {
  if (body.op !== "load" || body.dtype !== "f16" || shape[axis]! % lanes !== 0) return false
  const [first, ...others] = Array.from({ length: lanes }, (_, i) => laneOf(body, axis, shape[axis]!, lanes, i).src[0]!)
  const place = expr.and(first!, expr.int(lanes - 1))
  return first!.low >= 0 && place.op === "const" && place.value === 0 && others.every((at, i) => {
    const apart = expr.sub(at, first!)
    return apart.op === "const" && apart.value === i + 1
  })
}

/** A function (one i32 per axis) -> vec4<u32>, where the coordinate of `axis` counts groups of eight. */
export function halvesFunction(module: ModuleWriter, name: string, operand: Operand, axis: number): string {
  if (!hasHalves(operand, axis)) fail("internal", "webgpu", `${name} is not stored as halves`)
  return module.function(`${name}_halves_${axis}`, (called) => {
    const { shape, body } = operand
    const w = new Statements(module, shape.map((_, i) => `i${i}`))
    const words = [0, 1, 2, 3].map((i) => w.word(body.value, expr.shr(laneOf(body, axis, shape[axis]!, lanes, 2 * i).src[0]!, expr.int(1))))
    return `fn ${called}(${shape.map((_, i) => `i${i}: i32`).join(", ")}) -> vec4<u32> {\n${w.lines.join("\n")}\nreturn vec4<u32>(${words.join(", ")});\n}`
  })
}
