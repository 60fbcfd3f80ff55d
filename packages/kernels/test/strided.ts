// Operands and results as plain arrays with strides: what the templates are tested and timed with.
import { ModuleBuilder } from "../src/emit/assembler.ts"
import type { FunctionBuilder, Local } from "../src/emit/assembler.ts"
import type { Operand, Push, Result, Stream, Template, Writer } from "../src/template/holes.ts"

/** An array in memory: byte address, strides in elements per axis. */
export interface Strided {
  readonly address: number
  readonly strides: readonly number[]
}

function hoist(f: FunctionBuilder, { address, strides }: Strided, axis: number, coords: readonly Local[]): Local {
  const base = f.local("i32")
  f.i32(address)
  coords.forEach((coordinate, i) => {
    if (i === axis || strides[i] === 0) return
    f.get(coordinate)
    f.scale(4 * strides[i]!)
    f.op("i32.add")
  })
  f.set(base)
  return base
}

export function operand(array: Strided): Operand {
  return {
    contiguous: array.strides.includes(1) ? array.strides.indexOf(1) : undefined,
    constantAlong: (axis) => array.strides[axis] === 0,
    along(f, axis, coords, position) {
      const base = hoist(f, array, axis, coords)
      const stride = array.strides[axis]!
      const one = (offset: number) => { f.address(base, position, 4 * stride); f.load("f32.load", 4 * stride * offset) }
      const stream: Stream = {
        value(lanes, offset = 0) {
          if (lanes === 1) return one(offset)
          if (stride === 1) {
            f.address(base, position, 4)
            f.load("v128.load", 4 * offset)
            return
          }
          one(offset)
          f.op("f32x4.splat")
          for (let lane = 1; lane < 4; lane++) { one(offset + lane); f.lane("f32x4.replace_lane", lane) }
        },
        vectors: (count) => Array.from({ length: count }, (_, i) => {
          const vector = f.local("v128")
          stream.value(4, 4 * i)
          f.set(vector)
          return vector
        }),
      }
      return stream
    },
  }
}

/** Stores max(accumulator + bias[last axis], floor): an epilogue with an operand of its own. */
export function result(array: Strided, epilogue?: { readonly bias: Strided; readonly floor: number }): Result {
  return {
    along(f, axis, coords, position) {
      const base = hoist(f, array, axis, coords)
      const stride = array.strides[axis]!
      const bias = epilogue && operand(epilogue.bias).along(f, axis, coords, position)
      const writer: Writer = {
        finish(lanes, accumulator, offset = 0) {
          if (bias !== undefined) {
            f.get(accumulator)
            bias.value(lanes, offset)
            f.op(lanes === 4 ? "f32x4.add" : "f32.add")
            if (lanes === 4) f.f32x4(epilogue!.floor)
            else f.f32(epilogue!.floor)
            f.op(lanes === 4 ? "f32x4.max" : "f32.max")
            f.set(accumulator)
          }
          if (lanes === 4 && stride === 1) {
            f.address(base, position, 4)
            f.get(accumulator)
            f.store("v128.store", 4 * offset)
            return
          }
          for (let lane = 0; lane < lanes; lane++) {
            f.address(base, position, 4 * stride)
            f.get(accumulator)
            if (lanes === 4) f.lane("f32x4.extract_lane", lane)
            f.store("f32.store", 4 * stride * (offset + lane))
          }
        },
        finishVectors: (accumulators) => accumulators.forEach((a, i) => writer.finish(4, a, 4 * i)),
      }
      return writer
    },
  }
}

/** One exported function `phase0`, `phase1` … (scratch, threadScratch, begin, end) per phase, over a shared memory. */
export function phaseModule(pages: number, make: (scratch: Push, threadScratch: Push) => Template, name = "template"):
  { readonly bytes: Uint8Array<ArrayBuffer>; readonly template: Template } {
  const m = new ModuleBuilder()
  m.importMemory("env", "memory", { initial: pages, maximum: pages, shared: true })
  const template = make((f) => f.get(f.params[0]!), (f) => f.get(f.params[1]!))
  template.phases.forEach((phase, i) =>
    m.function(["i32", "i32", "i32", "i32"], [], (f, _scratch, _threadScratch, begin, end) => phase.emit(f, begin, end), `phase${i}`))
  m.export(name, m.global("i32", 0, false))
  return { bytes: m.finish(), template }
}
