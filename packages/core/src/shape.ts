import { fail, showShape } from "./errors.ts"

export type Shape = readonly number[]

export function sizeOf(shape: Shape): number {
  let n = 1
  for (let i = 0; i < shape.length; i++) n *= shape[i]!
  return n
}

export function sameShape(a: Shape, b: Shape): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** Row-major strides in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length)
  for (let i = shape.length - 1, s = 1; i >= 0; i--) {
    strides[i] = s
    s *= shape[i]!
  }
  return strides
}

export function checkShape(op: string, shape: Shape): Shape {
  checkList(op, shape)
  for (const n of shape)
    if (!Number.isSafeInteger(n) || n < 0) fail("shape", op, `sizes must be whole numbers ≥ 0, got ${showShape(shape)}`)
  return shape
}

function checkList(op: string, shape: unknown): void {
  if (!Array.isArray(shape)) fail("shape", op, `a shape is a list of sizes, got ${typeof shape === "number" ? shape : typeof shape}`, typeof shape === "number" ? `[${shape}]` : undefined)
}

/** An axis counted from the front; negative ones count from the back. */
export function axisOf(op: string, axis: number, rank: number): number {
  if (typeof axis !== "number") fail("axis", op, `an axis is a number, got ${typeof axis}`)
  const a = axis < 0 ? axis + rank : axis
  if (!Number.isInteger(axis) || a < 0 || a >= rank)
    fail("axis", op, `no axis ${axis} in a tensor of rank ${rank}`, rank === 0 ? "a 0-d tensor has no axes" : `use ${-rank} … ${rank - 1}`)
  return a
}

/** Axes as a sorted list without repeats; undefined means all of them. */
export function axesOf(op: string, axes: number | readonly number[] | undefined, rank: number): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i)
  if (typeof axes !== "number" && !Array.isArray(axes)) fail("axis", op, `axes are a number or a list of numbers, got ${axes === null ? "null" : typeof axes}`)
  const list = (typeof axes === "number" ? [axes] : (axes as readonly number[])).map((a) => axisOf(op, a, rank)).sort((a, b) => a - b)
  for (let i = 1; i < list.length; i++) if (list[i] === list[i - 1]) fail("axis", op, `axis ${list[i]} is named twice`)
  return list
}

/** The shape two operands broadcast to (sizes equal, or one of them 1, aligned at the last axis). */
export function broadcastShapes(op: string, a: Shape, b: Shape): Shape {
  if (sameShape(a, b)) return a
  const rank = Math.max(a.length, b.length)
  const out = new Array<number>(rank)
  for (let i = 1; i <= rank; i++) {
    const x = a[a.length - i] ?? 1, y = b[b.length - i] ?? 1
    if (x !== y && x !== 1 && y !== 1)
      fail("shape", op, `shapes do not broadcast, ${showShape(a)} with ${showShape(b)} (axis ${-i}: ${x} ≠ ${y})`, "sizes must be equal or 1")
    out[rank - i] = x === 1 ? y : x
  }
  return out
}

/** Shape after reducing `axes`. */
export function reducedShape(shape: Shape, axes: readonly number[], keepDims: boolean): number[] {
  const out: number[] = []
  for (let i = 0; i < shape.length; i++) {
    if (!axes.includes(i)) out.push(shape[i]!)
    else if (keepDims) out.push(1)
  }
  return out
}

/** How many elements one result of a reduction over `axis` joins. */
export function reducedCount(op: string, shape: Shape, axis: number | readonly number[] | undefined): number {
  return axesOf(op, axis, shape.length).reduce((n, a) => n * shape[a]!, 1)
}

/** Resolves one -1 in a target shape. */
export function resolveShape(op: string, shape: Shape, size: number): number[] {
  checkList(op, shape)
  const at = shape.indexOf(-1)
  const out = [...shape]
  if (at >= 0) {
    out[at] = 1
    const rest = sizeOf(out)
    if (out.includes(-1)) fail("shape", op, `only one size may be -1, got ${showShape(shape)}`)
    if (rest === 0 || size % rest !== 0) fail("shape", op, `${size} elements do not fit ${showShape(shape)}`)
    out[at] = size / rest
  }
  checkShape(op, out)
  if (sizeOf(out) !== size) fail("shape", op, `${size} elements do not fit ${showShape(shape)} (${sizeOf(out)} elements)`)
  return out
}
