// What a weight is stored in, as dialects see it.
import { apply, encode, expr, partReader, type DType, type Expr, type Format, type Op, type Part, type PartReader, type Tensor, type TypedArray, type Weight } from "@thimble/core"
import { groupsOf, isCoded, isPermuted, type Bits, type Codes, type IntegerCodes, type IntegerOutline, type Outline } from "@thimble/formats"

type Piece = "code" | "zero" | "scale" | "min"
interface Asked {
  readonly format: Format
  readonly names: readonly string[]
  readonly piece: Piece
  readonly shape: readonly [number, number]
  /** Columns from one element of the result to the next. */
  readonly step: number
  /** What is added to integers, so that they fit a byte. */
  readonly plus: number
  readonly dtype: DType
}

/** One piece of the decode expression, at all elements or once per group. */
const pieceOp: Op<Asked> = {
  name: "codes",
  meaning: {
    at(read, [row, group], _, { format, names, piece, step, plus, dtype }) {
      const value = format[piece]!(partReader(names, 0, read), row!, expr.mul(group!, expr.int(step)))
      return dtype === "u8" ? expr.cast(expr.add(value, expr.int(plus)), "u32") : value
    },
  },
  result: (_, { shape, dtype }) => ({ shape, dtype }),
}

/** The integers that a format's expressions stand for: their bits, what is taken off codes, and the types of scales. */
interface Integers { readonly outline: IntegerOutline; readonly plus: number }

/** Integers by the bounds of a format's own expressions: any format is one whose codes go through no table. */
function integersOf(format: Format, parts: Readonly<Record<string, Tensor>>, shape: readonly [number, number]): Integers | undefined {
  if (format.tables) return undefined
  return expr.freshExprs(() => {
    const all = Object.values(parts), row = expr.index(0, shape[0]), column = expr.index(1, shape[1])
    const read: PartReader = partReader(Object.keys(parts), 0, (source, at) => expr.load(source, all[source]!.dtype, at.reduce((flat, c, i) => expr.add(expr.mul(flat, expr.int(all[source]!.shape[i]!)), c), expr.int(0))))
    const code = format.code(read, row, column), zero = format.zero?.(read, row, column), stored = (e: Expr): DType => (e.op === "load" && e.dtype !== undefined ? e.dtype : "f32")
    const scales = stored(format.scale(read, row, column)), varies = zero !== undefined && zero.op !== "const"
    if (code.type !== "i32" || !Number.isFinite(code.low) || !Number.isFinite(code.high) || (format.min && zero)) return undefined
    const unsigned = varies || format.min !== undefined, taken = unsigned ? 0 : (zero?.value ?? 0), low = code.low - taken, high = code.high - taken
    const bits = Array.from({ length: 8 }, (_, i) => (i + 1) as Bits).find((b) => (unsigned ? low >= 0 && high < 2 ** b : low >= -(2 ** (b - 1)) && high < 2 ** (b - 1)))
    if (bits === undefined) return undefined
    const outline: IntegerOutline = { kind: "integer", shape, bits, group: format.group, scales, zeros: varies, mins: format.min !== undefined, ordered: false }
    return { outline, plus: unsigned ? 0 : 2 ** (bits - 1) - taken }
  })
}

/** What a weight is stored in, if it is any of what dialects tell apart. */
export function outlineOfWeight(weight: Weight): Outline | undefined {
  const { storage, shape, parts } = weight
  if (isPermuted(weight)) {
    const own = outlineOfWeight(weight.permuted.stored)
    return own?.kind === "integer" && !own.ordered ? { ...own, ordered: own.group !== Infinity } : undefined
  }
  if (storage === undefined || typeof storage === "string") return undefined
  return isCoded(storage) ? storage.outline(shape) : integersOf(storage, parts(), shape)?.outline
}

/** Codes whose columns are stored in another order, as groups of columns that are no neighbours. */
function inOrder(own: IntegerCodes, order: Int32Array): IntegerCodes {
  const { codes: stored, shape: [rows, columns], group } = own, codes = new Uint8Array(stored.length), groupOf = new Int32Array(columns)
  order.forEach((column, i) => {
    if (group !== Infinity) groupOf[column] = Math.floor(i / group)
    for (let r = 0; r < rows; r++) codes[r * columns + column] = stored[r * columns + i]!
  })
  return { ...own, codes, ...(group !== Infinity && { groupOf }) }
}

const hostPart = async (t: Tensor): Promise<Part> => ({ data: await t.raw(), shape: t.shape, dtype: t.dtype })

/** The codes of a weight that has an outline. Nothing stays on the device. */
export async function codesOfWeight(weight: Weight): Promise<Codes | undefined> {
  const { storage, shape, parts } = weight
  if (isPermuted(weight)) {
    const own = outlineOfWeight(weight) && (await codesOfWeight(weight.permuted.stored))
    return own?.kind === "integer" ? inOrder(own, (await weight.permuted.order.raw()) as Int32Array) : undefined
  }
  if (storage === undefined || typeof storage === "string") return undefined
  const own = parts()
  if (isCoded(storage)) {
    if (storage.outline(shape) === undefined) return undefined
    return storage.codes(Object.fromEntries(await Promise.all(Object.entries(own).map(async ([name, t]) => [name, await hostPart(t)] as const))), shape)
  }
  const found = integersOf(storage, own, shape)
  if (found === undefined) return undefined
  const { outline: { bits, group, scales, zeros, mins }, plus } = found, groups = groupsOf(shape[1], group), names = Object.keys(own)
  const read = async (piece: Piece, dtype: DType): Promise<TypedArray> => {
    const each = piece === "code", t = apply(pieceOp, Object.values(own), { format: storage, names, piece, shape: [shape[0], each ? shape[1] : groups], step: each ? 1 : group === Infinity ? 0 : group, plus: each ? plus : 0, dtype })
    try {
      return await t.raw()
    } finally {
      t.dispose()
    }
  }
  const floats = async (piece: Piece): Promise<Part> => {
    const values = await read(piece, "f32"), data = scales === "f32" ? values : Uint16Array.from(values, (v) => encode(scales, v))
    return { data, shape: [shape[0], groups], dtype: scales }
  }
  return {
    kind: "integer", bits, shape, group, codes: (await read("code", "u8")) as Uint8Array, scales: await floats("scale"),
    ...(zeros && { zeros: (await read("zero", "u8")) as Uint8Array }), ...(mins && { mins: await floats("min") }),
  } satisfies IntegerCodes
}
