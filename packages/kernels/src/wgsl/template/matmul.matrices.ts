// The product of f16 matrices on matrices of subgroups.
import { hasHalves } from "../halves.ts"
import type { Holes, Operand, Pass, PassHoles } from "./holes.ts"
import { matrixTile, threadsOf, writeMatrixProduct, type MatrixOperand } from "./matrices.ts"

interface Sizes { readonly batch: number; readonly m: number; readonly k: number; readonly n: number }
/** Sizes below which tiles are mostly empty. */
const least = 32

/** The passes, if the adapter and the operands are made for it. */
export function byMatrices({ dims, operands, features }: Holes): Pass[] | undefined {
  const sizes = dims as unknown as Sizes, { a, b } = operands as Record<"a" | "b", Operand>
  if (Math.min(sizes.m, sizes.n, sizes.k) < least) return undefined
  const axes = { a: axisOf(a), b: axisOf(b) }
  const chosen = hasHalves(a, axes.a) && hasHalves(b, axes.b) ? matrixTile(sizes, features, 1) : undefined
  if (chosen === undefined) return undefined
  const { tile, kind, units } = chosen
  return [{
    units, threads: [threadsOf(tile, kind)],
    write(pass) {
      const finish = pass.finish(4)
      return writeMatrixProduct(pass, {
        sizes, tile, kind, a: asStored(pass, "a", axes.a), b: asStored(pass, "b", axes.b), planes: 1, pairs: [[0, 0]],
        put: (row, group, value) => `${finish}(batch, ${row}, ${group}, ${value});`,
      })
    },
  }]
}
const axisOf = ({ contiguous }: Operand): 1 | 2 => (contiguous === 1 ? 1 : 2)

/** Halves as they lie in memory. */
function asStored(pass: PassHoles, name: "a" | "b", axis: 1 | 2): MatrixOperand {
  const read = pass.halves(name, axis)
  return {
    axis,
    vectors: {
      hold: (v) => `var ${v} = vec4<u32>();`,
      read: (v, line, at) => `${v} = ${read}(batch, ${axis === 2 ? `${line}, ${at}` : `${at}, ${line}`});`,
      clear: (v) => `${v} = vec4<u32>();`,
      planes: (v) => ({ values: [v] }),
    },
  }
}
