import { fail, type Part, type TypedArray } from "@thimble/core"
import type { MatrixShape, SparseCodes } from "./codes.ts"
import { ModuleReader, stored, storedPart, type Settings, type StoredModule } from "./stored.ts"

// The sparse tensors of vLLM's compressed-tensors: values of what is not zero, and a bit per element, the first lowest. Quantized
// modules go without them.

/** How compressed-tensors stores a sparse matrix: any zeros, or two of each four neighbours. */
export type SparseLayout = "sparse-bitmask" | "sparse-24-bitmask"
const op = "compressed-tensors"

/** Stores a matrix of floats without its zeros; of each four neighbours two, where that is the layout. */
export function writeSparse(module: string, { data, shape, dtype }: Part, layout: SparseLayout): StoredModule {
  if (shape.length !== 2) return fail("shape", op, `'${module}' is no matrix`)
  if (dtype !== "f32" && dtype !== "f16" && dtype !== "bf16") return fail("dtype", op, `'${module}' is ${dtype}, and floats are stored without their zeros`)
  const [rows, columns] = shape as unknown as MatrixShape, pairs = layout === "sparse-24-bitmask", width = Math.ceil(columns / 8), bits = new Uint8Array(rows * width)
  if (pairs && columns % 4 !== 0) fail("shape", op, `'${module}' has rows of ${columns}, which are no multiples of 4`, "sparse-bitmask")
  // The bits of −0 are not 0, and its value is.
  const isZero = (v: number): boolean => (dtype === "f32" ? v === 0 : (v & 0x7fff) === 0), places: number[] = [], starts = new BigInt64Array(rows)
  const keep = (r: number, c: number): void => {
    bits[r * width + (c >> 3)]! |= 1 << (c & 7)
    places.push(r * columns + c)
  }
  for (let r = 0; r < rows; r++) {
    starts[r] = BigInt(places.length)
    if (!pairs) for (let c = 0; c < columns; c++) if (!isZero(data[r * columns + c]!)) keep(r, c)
    if (pairs)
      for (let c = 0; c < columns; c += 4) {
        const four = [0, 1, 2, 3], filled = four.filter((i) => !isZero(data[r * columns + c + i]!))
        if (filled.length > 2) fail("value", op, `'${module}' has ${filled.length} elements in columns ${c} to ${c + 3} of row ${r}, and two are stored`, "prune it to 2:4, or sparse-bitmask")
        const spare = four.filter((i) => !filled.includes(i)).slice(0, 2 - filled.length)
        for (const i of [...filled, ...spare].sort((a, b) => a - b)) keep(r, c + i)
      }
  }
  const values = new (data.constructor as new (n: number) => TypedArray)(places.length)
  places.forEach((from, i) => (values[i] = data[from]!))
  return {
    compressed: storedPart({ data: values, shape: pairs ? [rows, columns / 2] : [values.length], dtype }),
    bitmask: stored("U8", [rows, width], bits),
    shape: stored("I64", pairs ? [2, 1] : [2], BigInt64Array.of(BigInt(rows), BigInt(columns))),
    ...(!pairs && { row_offsets: stored("I64", [rows], starts) }),
  }
}

/** Whether the tensors of a module are those of a sparse matrix. */
export const isSparse = (tensors: StoredModule): boolean => Object.hasOwn(tensors, "compressed") && Object.hasOwn(tensors, "bitmask")

/** The matrix, zeros and all. Where rows have no offsets, two of each four neighbours are stored. */
export function readSparse(module: string, tensors: StoredModule, [rows, columns]: MatrixShape): SparseCodes {
  const from = new ModuleReader(op, module, tensors), width = Math.ceil(columns / 8), said = from.take("shape", ["I64", "I32"]).data
  if (said.length !== 2 || Number(said[0]) !== rows || Number(said[1]) !== columns) from.refuse(`is [${[...said].join(", ")}], not [${rows}, ${columns}]`)
  const bits = from.take("bitmask", ["U8"], [rows, width]).data as Uint8Array, own = from.take("compressed", ["F16", "BF16", "F32"])
  const { data, dtype } = from.floats("compressed", own.shape), out = new (data.constructor as new (n: number) => TypedArray)(rows * columns)
  const starts = from.has("row_offsets") ? from.take("row_offsets", ["I64"], [rows]).data : undefined
  let at = 0
  for (let r = 0; r < rows; r++) {
    if (starts !== undefined && Number(starts[r]) !== at) from.refuse(`has row ${r} from value ${String(starts[r])} on, and its bits from ${at} on`)
    for (let c = 0; c < columns; c++) {
      if ((bits[r * width + (c >> 3)]! >> (c & 7)) & 1) out[r * columns + c] = data[at++] ?? from.refuse(`has ${data.length} values, and more bits`)
      if (starts === undefined && c % 4 === 3 && at !== (r * columns + c + 1) / 2) from.refuse(`does not have two of each four neighbours in columns ${c - 3} to ${c} of row ${r}`)
    }
  }
  if (at !== data.length) from.refuse(`has ${data.length} values, and bits for ${at}`)
  return { kind: "sparse", shape: [rows, columns], pairs: starts === undefined, values: { data: out, shape: [rows, columns], dtype } }
}

/** The `sparsity_config` of a `quantization_config`: what is stored so, the modules that are not, and the share of zeros. */
export const sparsityConfig = (layout: SparseLayout, zeros: number, ignore: readonly string[]): Settings => ({
  format: layout, global_sparsity: zeros, sparsity_structure: layout === "sparse-24-bitmask" ? "2:4" : "unstructured", ignore, targets: ["Linear"], registry_requires_subclass: false,
})
