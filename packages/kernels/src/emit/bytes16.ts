// Sixteen codes at a time: integer expressions of small range in byte lanes, for the integer-dot kernels.
import { bytesOf, expr, flatten, rewrite, type Expr } from "@thimble/core"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { ExpressionStream, type Environment } from "./expression.ts"

/** An integer operand, read in blocks of 32 neighbours along one axis. */
export interface ByteOperand {
  /** Bounds of its values. */
  readonly low: number
  readonly high: number
  /** Emits what does not depend on the block; `value` pushes elements 16·half … 16·half+15 of block number `block` as i8x16. */
  along(f: FunctionBuilder, axis: number, coords: readonly Local[], block: Local): { value(half: 0 | 1): void }
}

/** Coordinates that stand for the block and the lane; no kernel has that many axes. */
const blockAxis = 30, laneAxis = 31

export function byteOperand(body: Expr, shape: readonly number[], env: (f: FunctionBuilder) => Environment): ByteOperand {
  return {
    low: body.low,
    high: body.high,
    along(f, axis, coords, block) {
      const lane = expr.index(laneAxis, 16)
      const blocks = expr.mul(expr.index(blockAxis, Math.ceil(shape[axis]! / 32)), expr.int(32))
      const halves = [0, 16].map((h) => rewrite([body], (e) => (e.op === "index" && e.value === axis ? expr.add(blocks, expr.add(expr.int(h), lane)) : undefined))[0]!)
      if (halves.every(expressible)) {
        const streams = halves.map((e) => new ByteStream(f, env(f), e, coords, block))
        return { value: (half) => streams[half]!.push() }
      }
      // Not expressible in byte lanes: four integers at a time, narrowed.
      const position = f.local("i32")
      const stream = new ExpressionStream(f, env(f), axis, coords, position, [body])
      return {
        value(half) {
          f.get(block); f.scale(32); f.i32(16 * half); f.op("i32.add"); f.set(position)
          for (const pair of [0, 8]) {
            stream.value(body, 4, pair)
            stream.value(body, 4, pair + 4)
            f.op("i16x8.narrow_i32x4_s")
          }
          f.op(body.high > 127 ? "i8x16.narrow_i16x8_u" : "i8x16.narrow_i16x8_s")
        },
      }
    },
  }
}

const varies = (e: Expr): boolean => flatten([e]).some((x) => x.op === "index" && x.value === laneAxis)

/** Whether byte arithmetic gives the expression's value: every step fits in eight bits and has an instruction. */
function expressible(e: Expr): boolean {
  if (e.op === "const") return true
  if (e.low < -128 || e.high > 255) return false
  switch (e.op) {
    case "load": {
      if (bytesOf(e.dtype!) !== 1) return false
      const { terms } = expr.sumOf(e.src[0]!)
      return [...terms].every(([t, k]) => (t.op === "index" && t.value === laneAxis ? k === 1 : !varies(t)))
        && [...terms.keys()].some((t) => t.op === "index" && t.value === laneAxis)
    }
    case "cast": return e.type !== "bool" && e.src[0]!.type !== "bool" && e.src[0]!.type !== "f32" && expressible(e.src[0]!)
    case "add": case "sub": case "and": case "or": case "xor": return e.src.every(expressible)
    case "shl": case "shr": return e.src[1]!.op === "const" && expressible(e.src[0]!)
    case "div": case "rem": {
      const [a, b] = e.src as [Expr, Expr]
      return b.op === "const" && Number.isInteger(Math.log2(b.value)) && a.low >= 0 && expressible(a)
    }
    default: return false
  }
}

/** Emits an expressible expression; addresses of loads are computed once per stream. */
class ByteStream {
  private readonly f: FunctionBuilder
  private readonly root: Expr
  private readonly block: Local
  private readonly masks = new Map<number, Local>()
  private readonly bases = new Map<Expr, { base: Local; step: number; offset: number }>()

  constructor(f: FunctionBuilder, env: Environment, root: Expr, coords: readonly Local[], block: Local) {
    this.f = f
    this.root = root
    this.block = block
    // Every byte constant the expression may need, loaded before the loop.
    for (const e of flatten([root])) {
      const [, b] = e.src
      const byte = e.op === "const" ? e.value & 255 : e.op === "rem" ? b!.value - 1 : e.op === "div" ? 255 / b!.value | 0 : e.op === "shr" ? 255 >> b!.value : -1
      if (byte >= 0 && e.type !== "f32" && !this.masks.has(byte)) this.masks.set(byte, env.constants.bytes(f, byte))
    }
    for (const load of flatten([root]).filter((e) => e.op === "load")) {
      const sum = expr.sumOf(load.src[0]!)
      const base = f.local("i32"), none = f.local("i32")
      let step = 0
      f.get(env.parameters[load.value]!)
      for (const [term, k] of sum.terms) {
        if (term.op === "index" && term.value === laneAxis) continue
        if (term.op === "index" && term.value === blockAxis) {
          step = k
          continue
        }
        new ExpressionStream(f, env, -1, coords, none, [term]).value(term, 1)
        f.scale(k)
        f.op("i32.add")
      }
      f.set(base)
      this.bases.set(load, { base, step, offset: sum.rest })
    }
  }

  push(): void {
    this.emit(this.root)
  }

  private emit(e: Expr): void {
    const { f } = this
    if (e.op === "const") {
      f.get(this.masks.get(e.value & 255)!)
      return
    }
    if (e.op === "load") {
      const { base, step, offset } = this.bases.get(e)!
      f.get(base)
      f.get(this.block)
      f.scale(step)
      f.op("i32.add")
      return f.load("v128.load", offset, 0)
    }
    const [a, b] = e.src as [Expr, Expr]
    this.emit(a)
    const shift = (op: "i8x16.shl" | "i8x16.shr_s", by: number): void => {
      f.i32(by)
      f.op(op)
    }
    // Machines shift words, not bytes: shift those and mask what came from the neighbour.
    const shiftDown = (by: number): void => {
      f.i32(by)
      f.op("i16x8.shr_u")
      f.get(this.masks.get(255 >> by)!)
      f.op("v128.and")
    }
    switch (e.op) {
      case "cast": return
      case "shl": return shift("i8x16.shl", b.value)
      case "shr": return a.low < 0 ? shift("i8x16.shr_s", b.value) : shiftDown(b.value)
      case "div": return b.value === 1 ? undefined : shiftDown(Math.log2(b.value))
      case "rem":
        f.get(this.masks.get(b.value - 1)!)
        return f.op("v128.and")
      default:
        this.emit(b)
        f.op(({ add: "i8x16.add", sub: "i8x16.sub", and: "v128.and", or: "v128.or", xor: "v128.xor" } as const)[e.op as "add"])
    }
  }
}
