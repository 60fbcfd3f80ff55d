import { sizeOf, tensor, type DType, type Tensor, type TypedArray } from "@thimble/core"

/**
 * Golden sets: values recorded from other implementations. A set is a folder with `manifest.json` and one little-endian
 * file of row-major tensors; they lie in `fixtures/golden` of a package, or in the folder that THIMBLE_GOLDEN names by its whole path.
 */
export interface GoldenSet<M> {
  readonly manifest: M & GoldenManifest
  /** The stored elements of a tensor: bits for f16, bigints for i64. */
  array(name: string): GoldenArray
  /** A tensor on the current device; `as_strided` views are gathered on the host. */
  tensor(reference: GoldenReference): Tensor
}

export type GoldenArray = TypedArray | BigInt64Array
export interface GoldenEntry { readonly dtype: keyof typeof arrays; readonly shape: readonly number[]; readonly offset: number; readonly nbytes: number }
export interface GoldenReference { readonly tensor: string; readonly as_strided?: Strided }
/** Element (i₀, i₁, …) of the view is element offset + Σ i·stride of the flat stored one. */
export interface Strided { readonly size: readonly number[]; readonly stride: readonly number[]; readonly offset: number }
export interface GoldenManifest { readonly file: string; readonly tensors: Readonly<Record<string, GoldenEntry>> }

const arrays = {
  f32: Float32Array, f64: Float64Array, f16: Uint16Array, i64: BigInt64Array, i32: Int32Array, i16: Int16Array, i8: Int8Array,
  u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, bool: Uint8Array,
} as const

/** A file of a set, e.g. of `ops`: among a package's `fixtures`, this one's unless given, or where THIMBLE_GOLDEN says. */
export function goldenFile(set: string, file: string, fixtures: URL = new URL("../fixtures", import.meta.url)): URL {
  const folder = globalThis.process?.env?.THIMBLE_GOLDEN
  return new URL(`${folder ? `file://${folder}` : `${fixtures}/golden`}/${set}/${file}`)
}
/** What is in a file: on disk, or on the server of a page. */
export async function contentsOf(file: URL): Promise<Uint8Array<ArrayBuffer>> {
  // Named at run time, so that nothing looks for it on a page.
  const disk = "node:fs/promises"
  if (file.protocol === "file:") return new Uint8Array(await ((await import(/* @vite-ignore */ disk)) as typeof import("node:fs/promises")).readFile(file))
  const response = await fetch(file)
  return response.ok ? new Uint8Array(await response.arrayBuffer()) : fault(`${file}: ${response.status}`)
}
export const jsonOf = async <T>(file: URL): Promise<T> => JSON.parse(new TextDecoder().decode(await contentsOf(file))) as T

/** Opens the set in the folder `name`. M describes its manifest beyond the stored tensors. */
export async function openGolden<M>(name: string, fixtures?: URL): Promise<GoldenSet<M>> {
  const manifest = await jsonOf<M & GoldenManifest>(goldenFile(name, "manifest.json", fixtures))
  const bytes = (await contentsOf(goldenFile(name, manifest.file, fixtures))).buffer
  const entry = (t: string): GoldenEntry => manifest.tensors[t] ?? fault(`no tensor '${t}' in golden set ${name}`)
  const array = (t: string): GoldenArray => {
    const { dtype, shape, offset } = entry(t)
    return new arrays[dtype](bytes, offset, sizeOf(shape))
  }
  return {
    manifest,
    array,
    tensor: ({ tensor: t, as_strided: view }) => {
      const { dtype, shape } = entry(t)
      if (dtype === "i64") fault(`${t} is i64`)
      const stored = array(t) as TypedArray
      return tensor(view === undefined ? stored : gather(stored, view), { dtype: dtype as DType, shape: view?.size ?? shape })
    },
  }
}

function gather(stored: TypedArray, { size, stride, offset }: Strided): TypedArray {
  const n = sizeOf(size)
  const out = stored.slice(0, 0).constructor as new (n: number) => TypedArray
  return new out(n).map((_, flat) => {
    let at = offset
    for (let a = size.length - 1, rest = flat; a >= 0; a--) {
      at += (rest % size[a]!) * stride[a]!
      rest = Math.floor(rest / size[a]!)
    }
    return stored[at]!
  })
}

function fault(message: string): never {
  throw new Error(message)
}
