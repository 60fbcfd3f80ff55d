// One value per element: a thread writes a word, or four where memory is read that way.
import { bytesOf, expr, sizeOf, type Expr, type MapKernel } from "@thimble/core"
import { coalesce } from "../emit/coalesce.ts"
import { entryPoint, type EmittedPass } from "./emitted.ts"
import { asBits, beforeStore, Statements } from "./expression.ts"
import { flattened, isSmall, readsTogether } from "./lanes.ts"
import { writeModule } from "./module.ts"
import type { Features } from "./template/holes.ts"

const threads = 128
/** Words from which four to a thread leave enough threads. */
const manyWords = 1 << 17

export function emitMap(kernel: MapKernel, features: Features): EmittedPass {
  if (kernel.into !== undefined) return emitScattered(kernel, kernel.into, features)
  const { dtype } = kernel
  const { shape, bodies: [body] } = coalesce(kernel.shape, kernel.shape.length, [beforeStore(kernel.body, dtype)])
  const size = sizeOf(shape), per = Math.max(1, 4 / bytesOf(dtype))
  const words = Math.ceil(size / per)
  const lanesOf = (count: number): Expr[] => {
    const group = expr.index(0, Math.ceil(size / count))
    return Array.from({ length: count }, (_, lane) => flattened([body!], [[shape, expr.add(expr.mul(group, expr.int(count)), expr.int(lane))]])[0]!)
  }
  const four = words >= manyWords && isSmall([body!], 64) ? lanesOf(4 * per) : undefined
  const quads = four !== undefined && readsTogether(four)
  const lanes = quads ? four : lanesOf(per)
  const items = quads ? Math.ceil(words / 4) : words, units = Math.ceil(items / threads)
  return {
    units,
    ...writeModule(kernel, features, 0, (module) => {
      const w = new Statements(module, ["item"])
      w.expect(lanes)
      const bits = lanes.map((e) => asBits(module, dtype, w.variable(e)))
      const packed = Array.from({ length: lanes.length / per }, (_, i) => bits.slice(i * per, (i + 1) * per).map((b, lane) => (lane === 0 ? b : `(${b} << ${(lane * 32) / per}u)`)).join(" | "))
      const write = quads ? module.writeQuad("item", packed) : module.writeWord("item", packed[0]!)
      const body = `let item = unit * ${threads} + thread;\nif (item >= ${items}) { return; }\n${w.lines.join("\n")}\n${write}`
      return entryPoint({ units, threads: [threads] }, body)
    }),
  }
}

/** Values that go where `into` says, one to a thread. */
function emitScattered(kernel: MapKernel, into: Expr, features: Features): EmittedPass {
  const { dtype } = kernel, bytes = bytesOf(dtype)
  const { shape, bodies } = coalesce(kernel.shape, kernel.shape.length, [beforeStore(kernel.body, dtype), into])
  const size = sizeOf(shape), units = Math.ceil(size / threads)
  const [value, place] = flattened(bodies, [[shape, expr.index(0, size)]]) as [Expr, Expr]
  return {
    units,
    ...writeModule(kernel, features, 0, (module) => {
      const w = new Statements(module, ["item"])
      w.expect([value, place])
      const bits = w.declare(asBits(module, dtype, w.variable(value))), at = w.declare(w.value(place))
      const write = bytes === 4 ? module.writeWord(at, bits) : module.writePart(at, bits, bytes)
      return entryPoint({ units, threads: [threads] }, `let item = unit * ${threads} + thread;\nif (item >= ${size}) { return; }\n${w.lines.join("\n")}\n${write}`)
    }),
  }
}
