// Products on matrices of subgroups: of f16 matrices, and of f32 with weights that are stored in fewer bits.
import { bytesOf, flatten } from "@thimble/core"
import { hasHalves } from "../halves.ts"
import type { Holes, Operand, Pass, PassHoles } from "./holes.ts"
import { lanes, matrixTile, threadsOf, writeMatrixProduct, type MatmulSizes, type MatrixOperand } from "./matrices.ts"
import { bySplitMatrices, fitsSplit } from "./split.matrices.ts"

/** Halves are one each. */
const planes = { a: 1, b: 1 }
/** Sizes below which tiles are mostly empty. */
const least = 32

/** The passes, if the adapter and the operands are made for it. */
export const byMatrices = (holes: Holes): Pass[] | undefined => ofHalves(holes) ?? ofStored(holes)

function ofHalves({ dims, operands, features }: Holes): Pass[] | undefined {
  const sizes = dims as unknown as MatmulSizes, { a, b } = operands as Record<"a" | "b", Operand>
  if (Math.min(sizes.m, sizes.n, sizes.k) < least) return undefined
  const axes = { a: axisOf(a), b: axisOf(b) }
  const chosen = hasHalves(a, axes.a) && hasHalves(b, axes.b) ? matrixTile(sizes, features, planes) : undefined
  if (chosen === undefined) return undefined
  const { tile, kind, units } = chosen
  return [{
    units, threads: [threadsOf(tile, kind)],
    write(pass) {
      const finish = pass.finish(4)
      return writeMatrixProduct(pass, {
        sizes, tile, kind, a: asStored(pass, "a", axes.a), b: asStored(pass, "b", axes.b), planes, pairs: [[0, 0]],
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

/** Whether an operand is stored in less than four bytes an element. */
const isSmall = ({ body, type }: Operand): boolean => type === "f32" && flatten([body]).some((e) => e.op === "load" && bytesOf(e.dtype!) < 4)

/** Whether its elements have no more bits than a half, once they are scaled. */
const fitsHalves = ({ body }: Operand): boolean => body.op === "load" && (body.dtype === "f16" || body.dtype === "bf16")

/** Rows that are computed, times the columns of a weight: both lie along the terms. */
function ofStored({ dims, operands, features }: Holes): Pass[] | undefined {
  const sizes = dims as unknown as MatmulSizes, { a, b } = operands as Record<"a" | "b", Operand>, { m, k, n } = sizes
  if (!isSmall(b) || b.contiguous !== 1 || a.contiguous === 1 || Math.min(n, k) < least) return undefined
  const right = fitsHalves(b) ? 1 : 2
  return !fitsSplit(sizes, right, features) ? undefined : bySplitMatrices({
    sizes, features, right,
    rows(pass) {
      const read = pass.read("a", 4, 2), at = (row: string, g: string): string => `${read}((${row}) / ${m}, (${row}) % ${m}, ${g})`
      return { source: at, value: (x) => `let value = ${x};` }
    },
    columns(pass) {
      const read = pass.read("b", lanes, 1)
      return {
        parts: [{ ahead: pass.ahead("b", lanes, 1), at: (column, at) => `batch, ${at}, ${column}` }],
        eight: ([eight]) => `let eight = ${eight}; let first = eight[0]; let second = eight[1];`,
        bounds: k / lanes, bound: (column, i) => `let eight = ${read}(batch, ${i}, ${column}); let bits = max(mostOf(eight[0]), mostOf(eight[1]));`,
      }
    },
    exceptional(pass) {
      const a1 = pass.read("a"), b1 = pass.read("b")
      return (row, column) => `var exact = 0f; for (var l = 0; l < ${k}; l++) { exact += ${a1}(batch, ${row}, l) * ${b1}(batch, l, ${column}); }`
    },
    finish(pass) {
      const finish = pass.finish(4)
      return (row, group, value) => `${finish}(batch, ${row}, ${group}, ${value});`
    },
  })
}
