import { bf16Bits, f16Bits, fail, type DType } from "@thimble/core"
import { sparseNamed, type SparseFormat } from "@thimble/formats"
import type { MatrixShape, QuantizedFormat } from "../quantizer.ts"
import type { Stored, Target } from "../recipe/method.ts"
import type { SparsityPattern } from "./pattern.ts"

/** What a pruned matrix is stored in: with all of its zeros, as plain elements or in a format, or without them. */
export type Store = "f32" | "f16" | "bf16" | QuantizedFormat | SparseFormat

export const storeName = (store: Store): string => (typeof store === "string" ? store : store.name)
const plain = { f16: f16Bits, bf16: bf16Bits } satisfies Partial<Record<DType, unknown>>

/** What a matrix will take, at most: weights that stay may be zero already. */
export function storeTarget(store: Store, pattern: Pick<SparsityPattern, "keeps" | "block">, shape: MatrixShape): Target | { readonly unfit: string } {
  const [rows, columns] = shape
  if (typeof store === "string") return { format: store, bytes: rows * columns * (store === "f32" ? 4 : 2) }
  if (!("storedBytes" in store)) return columns % (store.unit ?? 1) === 0 ? { format: store, bytes: store.storageBytes(shape) } : { unfit: `rows of ${columns} are not whole multiples of ${store.unit}, which ${store.name} needs` }
  const unfit = store.unfit?.(shape)
  if (unfit !== undefined) return { unfit }
  const [r, c] = store.sparse !== undefined && "block" in store.sparse ? store.sparse.block : [1, 1], own = pattern.block?.(shape) ?? [1, 1], keeps = pattern.keeps(shape)
  const all = Math.ceil(rows / r) * r * Math.ceil(columns / c) * c
  // Blocks of the pattern are made of blocks of the store, or each weight that stays may be in one of its own.
  return { format: store, bytes: store.storedBytes(shape, Math.min(all, own[0] % r === 0 && own[1] % c === 0 ? keeps : keeps * r * c)) }
}

/** A matrix that is stored, its zeros with it or without them. */
export function stored(store: Store, values: Float32Array, shape: MatrixShape): Stored {
  if (typeof store !== "string") return { format: store, parts: store.encode(values, shape) }
  return { format: store, parts: { values: { data: store === "f32" ? values : Uint16Array.from(values, plain[store]), shape, dtype: store } } }
}

/** A store by its name. */
export const storeNamed = (name: unknown, format: (name: unknown) => QuantizedFormat): Store =>
  name === "f32" || name === "f16" || name === "bf16" ? name : typeof name === "string" ? (sparseNamed(name) ?? format(name)) : fail("value", "parseRecipe", `a store is a name, got ${JSON.stringify(name)}`)

