import { decodeAt, evaluator, expr, fail, partReader, type Evaluate, type Expr, type Format, type Part, type PartReader } from "@thimble/core"

/** An element as its format states it: value = (code − zero) · scale + min. */
export interface Element {
  readonly code: number
  readonly zero: number
  readonly scale: number
  readonly min: number
  readonly value: number
}

/** Reads stored elements on the host, in the numbers that the reference device computes. */
export interface HostReader {
  value(row: number, column: number): number
  element(row: number, column: number): Element
  /** What the code expression can give: the integers between its bounds, or the entries of the only table. */
  readonly codes: readonly number[]
}

type Piece = (part: PartReader, row: Expr, column: Expr) => Expr

/** Evaluates the expressions of a format over the parts of one matrix. */
export function hostReader(format: Format, stored: Readonly<Record<string, Part>>, [rows, columns]: readonly [number, number]): HostReader {
  const parts = { ...format.tables, ...stored }
  const names = Object.keys(parts), all = Object.values(parts), data = all.map((p) => p.data)
  const coords = new Int32Array(2)
  const expression = (piece: Piece): Expr => {
    const read = partReader(names, 0, (source, at) => {
      const { shape, dtype } = all[source]!
      return expr.load(source, dtype, at.reduce((flat, c, i) => expr.add(expr.mul(flat, expr.int(shape[i]!)), c), expr.int(0)))
    })
    return piece(read, expr.index(0, rows), expr.index(1, columns))
  }
  const compiled = (piece: Piece | undefined): ((row: number, column: number) => number) => {
    if (piece === undefined) return () => 0
    let evaluate: Evaluate | undefined
    return (row, column) => {
      evaluate ??= expr.freshExprs(() => evaluator(expression(piece)))
      coords[0] = row
      coords[1] = column
      return evaluate(coords, data, [], 0)
    }
  }
  const value = compiled((part, row, column) => decodeAt(format, part, row, column))
  const code = compiled(format.code.bind(format)), zero = compiled(format.zero?.bind(format))
  const scale = compiled(format.scale.bind(format)), min = compiled(format.min?.bind(format))
  return {
    value,
    element: (r, c) => ({ code: code(r, c), zero: zero(r, c), scale: scale(r, c), min: min(r, c), value: value(r, c) }),
    get codes() {
      const tables = Object.values(format.tables ?? {})
      if (tables.length === 1) return [...tables[0]!.data]
      const { low, high } = expr.freshExprs(() => expression(format.code.bind(format)))
      if (!(high - low < 2 ** 16)) fail("internal", "format", `the codes of ${format.name} have no bounds`)
      return Array.from({ length: high - low + 1 }, (_, i) => low + i)
    },
  }
}
