// Sums that find their place by index: embedding gradients. A unit owns some columns of one result, so no two threads
// meet at an element, and adds the sources in their order, so the result never depends on the threads.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import type { Template } from "./holes.ts"
import { i32s, minimum, split } from "./loops.ts"

/** Columns per unit: two cache lines of a source row. */
const block = 32

/** result[o, r, i] = Σ_j (index[o, j, i] = r ? src[o, j, i] : 0); indices outside 0 … size-1 are left out. */
export function scatterAdd({ dims, operands, result, scratch }: Holes): Template {
  const { outer, n, inner, size } = dims as { outer: number; n: number; inner: number; size: number }
  const blocks = Math.ceil(inner / block)
  const width = Math.min(block, inner), rowBytes = 4 * Math.ceil(width / 4) * 4, areaBytes = size * rowBytes
  const { src, index } = operands as { src: Holes["operands"][string]; index: Holes["operands"][string] }
  const oneIndexPerRow = index.constantAlong(2)

  const emit = (f: FunctionBuilder, begin: Local, end: Local): void => {
    const [unit, o, part, from, to, vectorEnd, area, at, j, r, i] = i32s(f, 11)
    const [vector, scalar] = [f.local("v128"), f.local("f32")]

    /** Calls body for every element from..to, four at a time where there are four. */
    const columns = (body: (lanes: 1 | 4) => void): void => {
      f.get(to!); f.i32(3); f.op("i32.sub"); f.set(vectorEnd!)
      if (width >= 4) f.forRange(i!, from!, vectorEnd!, 4, () => body(4))
      else f.assign(i!, from!)
      if (inner % 4 !== 0) f.forRange(i!, i!, to!, 1, () => body(1))
    }
    /** Pushes the address of column i of the row at `at`. */
    const element = (): void => {
      f.get(i!); f.get(from!); f.op("i32.sub"); f.scale(4)
      f.get(at!); f.op("i32.add")
    }
    const row = (): void => {
      f.get(r!); f.scale(rowBytes); f.get(area!); f.op("i32.add"); f.set(at!)
    }
    f.forRange(unit!, begin, end, 1, () => {
      split(f, unit!, [[o!, outer], [part!, blocks]])
      f.get(part!); f.scale(block); f.set(from!)
      minimum(f, to!, () => f.address(from!, block, 1), inner)
      scratch(f); f.get(unit!); f.scale(areaBytes); f.op("i32.add"); f.set(area!)
      f.get(area!); f.i32(0); f.i32(areaBytes); f.memoryFill()
      f.forRange(j!, 0, n, 1, () => {
        const source = src.along(f, 2, [o!, j!, i!], i!)
        f.assign(i!, from!)
        const places = index.along(f, 2, [o!, j!, i!], i!)
        const within = (body: () => void): void => {
          places.value(1)
          f.tee(r!)
          f.i32(size)
          f.op("i32.lt_u")
          f.if(() => {
            row()
            body()
          })
        }
        const addTo = (lanes: 1 | 4): void => {
          element()
          element(); f.load(lanes === 4 ? "v128.load" : "f32.load")
          source.value(lanes)
          f.op(lanes === 4 ? "f32x4.add" : "f32.add")
          f.store(lanes === 4 ? "v128.store" : "f32.store")
        }
        if (oneIndexPerRow) within(() => columns(addTo))
        else f.forRange(i!, from!, to!, 1, () => within(() => addTo(1)))
      })
      f.forRange(r!, 0, size, 1, () => {
        const writer = result.along(f, 2, [o!, r!, i!], i!)
        row()
        columns((lanes) => {
          const sum = lanes === 4 ? vector : scalar
          element(); f.load(lanes === 4 ? "v128.load" : "f32.load"); f.set(sum)
          writer.finish(lanes, sum)
        })
      })
    })
  }
  return { phases: [{ units: outer * blocks, emit }], scratchBytes: outer * blocks * areaBytes, threadScratchBytes: 0 }
}

/** The scratch holds a second copy of the result: fine unless that is large. */
export const acceptsScatter = ({ outer, inner, size }: Readonly<Record<string, number>>): boolean =>
  outer! * inner! * size! <= 2 ** 27 && outer! * inner! * size! > 0
