import { arange, compile, currentDevice, fail, linalg, realize, showShape, sliceAt, tensor, where, type Device, type Tensor } from "@thimble/core"
import type { Arithmetic, Factor } from "./arithmetic.ts"
import { refuseNonFinite } from "./exact.ts"

const { cholesky, invertTriangular, NotPositiveDefinite } = linalg

/** A pivot so small beside what it was subtracted from is made of roundings. */
const noise = 8 * 2 ** -24
/**
 * Rows, and columns, that products run on, about. All are of one shape at run-time places, so that few kernels serve them:
 * V and the errors lie in slabs of so many rows, or columns.
 */
const slabSize = 512

// Slabs are [slab, columns]; `width` columns of a block begin at run-time places. `like` is [slab, width].
const across = (x: Tensor, start: Tensor, length: number): Tensor => sliceAt(x, { axis: 1, start, length })
/** A block's columns of a slab of H, columns as given or in an order. */
const given = compile((h: Tensor, like: Tensor, row: Tensor, at: Tensor) => across(sliceAt(h, { start: row, length: like.shape[0]! }), at, like.shape[1]!))
const ordered = compile((h: Tensor, order: Tensor, like: Tensor, row: Tensor, at: Tensor) =>
  h.take(sliceAt(order, { start: row, length: like.shape[0]! }), 0).take(sliceAt(order, { start: at, length: like.shape[1]! }), 1))
/** S − V[rows of the slab, columns from k on]·V[the block's rows, the same columns]ᵀ. */
const trail = compile((s: Tensor, v: Tensor, own: Tensor, row: Tensor, k: Tensor) => {
  const [slab] = v.shape as [number, number]
  return s.sub(across(v, k, slab).matmul(sliceAt(across(own, k, slab), { start: row, length: s.shape[1]! }).T))
}, { donate: [0] })
/** Puts S·Uᵀ among V's columns, where it lies above the block on the diagonal. */
const above = compile((v: Tensor, s: Tensor, u: Tensor, limit: Tensor, at: Tensor) =>
  v.updateSlice(where(arange(v.shape[0]!).unsqueeze(1).lt(limit), s.matmul(u.T), 0), { axis: 1, start: at }), { donate: [0, 1] })
/** Sum + errors·V[the slab's rows, the block's columns]. */
const carry = compile((sum: Tensor, errors: Tensor, v: Tensor, at: Tensor) => sum.add(errors.matmul(across(v, at, sum.shape[1]!))))
const note = compile((errors: Tensor, values: Tensor, at: Tensor) => errors.updateSlice(values, { axis: 1, start: at }), { donate: [0, 1] })
const place = (at: number): bigint => BigInt(at)

/** f32 on the device of H; blocks on the diagonal in float64 on the host. */
export function onDevice(op: string, h: Tensor, rows: number, n: number): Arithmetic {
  if (h.rank !== 2 || h.shape[0] !== n || h.shape[1] !== n) fail("shape", op, `H is ${showShape(h.shape)} for ${n} columns`)
  let known: Promise<Float64Array> | undefined
  const diagonal = async (): Promise<Float64Array> => {
    const finite = h.isFinite().all(), own = h.diagonal(), [ok, values] = [await finite.data(), await own.data()]
    if (ok[0] === 0) refuseNonFinite(op, "element of H", (await h.data()) as Float32Array, n)
    finite.dispose()
    own.dispose()
    return new Float64Array(values as Float32Array)
  }
  return {
    diagonal: () => (known ??= diagonal()),
    async factor(order, added, block) {
      const width = Math.min(block, n), count = Math.ceil(n / Math.max(width, slabSize)), slab = width * Math.ceil(n / count / width), all = slab * count
      const device = h.device ?? currentDevice(), damped = (await (known ??= diagonal())).map((d, j) => d + added[j]!)
      const padded = all > n ? h.pad([[0, all - n], [0, all - n]]) : h, index = tensor(Int32Array.from({ length: all }, (_, i) => order[i] ?? i), { device }), same = order.every((j, i) => j === i)
      try {
        await realize(padded)
        const read = (like: Tensor, row: bigint, at: bigint): Promise<Tensor> => (same ? given(padded, like, row, at) : ordered(padded, index, like, row, at))
        return await factorSlabs(read, (i) => (i < n ? { added: added[order[i]!]!, damped: damped[order[i]!]! } : { added: 1, damped: 1 }), { rows, n, width, slab, count, device })
      } finally {
        index.dispose()
        if (padded !== h) padded.dispose()
      }
    },
  }
}

/** A block's columns of a slab of H. */
type Read = (like: Tensor, row: bigint, at: bigint) => Promise<Tensor>
/** What is added to an element of the diagonal, by its place in the order, and what it is then. */
type Diagonal = (place: number) => { readonly added: number; readonly damped: number }

interface Sizes {
  readonly rows: number
  readonly n: number
  /** Columns of a block. */
  readonly width: number
  /** Rows of a slab, whole blocks, and how many slabs there are; beyond n, H is the identity. */
  readonly slab: number
  readonly count: number
  readonly device: Device
}

/** V·Vᵀ = H, a block of columns at a time, from the last on (Golub & Van Loan, §4.2.6, turned around). */
async function factorSlabs(read: Read, diagonal: Diagonal, sizes: Sizes): Promise<Factor | { pivot: number }> {
  const { n, width, slab, count, device } = sizes, last = Math.ceil(n / width) - 1, empty = (columns: number): Tensor => tensor(new Float32Array(slab * columns), { shape: [slab, columns], device })
  const v: Tensor[] = [], u: Tensor[] = [], inverses: Float64Array[] = [], like = empty(width)
  for (let r = 0; r < count; r++) v.push(empty(slab * count))
  const release = (): void => { for (const t of [...v, ...u]) t.dispose() }
  let done = false
  try {
    for (let b = last; b >= 0; b--) {
      const start = b * width, q = Math.floor(start / slab), row = start - q * slab, parts: Tensor[] = []
      for (let r = q; r >= 0; r--) {
        let s = await read(like, place(r * slab), place(start))
        if (b < last) for (let k = Math.floor((start + width) / slab); k < count; k++) s = await trail(s, v[r]!, v[q]!, place(row), place(k * slab))
        parts[r] = s
      }
      const own = parts[q]!.slice([row, row + width]), factored = factorBlock(new Float64Array((await own.data()) as Float32Array), width, (i) => diagonal(start + i))
      if (own !== parts[q]) own.dispose()
      if (typeof factored === "number") {
        for (const s of parts) s.dispose()
        return { pivot: start + factored }
      }
      inverses[b] = factored
      u[b] = tensor(new Float32Array(factored), { shape: [width, width], device })
      for (let r = 0; r <= q; r++) v[r] = await above(v[r]!, parts[r]!, u[b]!, place(start - r * slab), place(start))
    }
    done = true
  } finally {
    like.dispose()
    if (!done) release()
  }
  return factorOf(v, u, inverses, release, sizes)
}

/** U of a block, V⁻¹, from S without what is added to H; or the place of the first pivot, from the last on, that is noise. */
function factorBlock(s: Float64Array, width: number, diagonal: Diagonal): Float64Array | number {
  for (let i = 0; i < width; i++) s[i * width + i]! += diagonal(i).added
  try {
    const own = cholesky(s.reverse(), width).reverse()
    for (let i = width - 1; i >= 0; i--) if (own[i * width + i]! ** 2 <= noise * diagonal(i).damped) return i
    return invertTriangular(own, width, "upper")
  } catch (error) {
    if (!(error instanceof NotPositiveDefinite)) throw error
    return width - 1 - error.pivot
  }
}

function factorOf(v: readonly Tensor[], u: readonly Tensor[], inverses: readonly Float64Array[], release: () => void, { rows, n, width, slab, device }: Sizes): Factor {
  const errors: Tensor[] = [], nothing = tensor(new Float32Array(rows * width), { shape: [rows, width], device })
  return {
    inverse(start) {
      const own = inverses[start / width]!, count = Math.min(width, n - start)
      return count === width ? own : Float64Array.from({ length: count * count }, (_, i) => own[Math.floor(i / count) * width + (i % count)]!)
    },
    async correction(start) {
      let sum = nothing
      for (let r = 0; r < errors.length; r++) {
        const next = await carry(sum, errors[r]!, v[r]!, place(start))
        if (r > 0) sum.dispose()
        sum = next
      }
      const count = Math.min(width, n - start), moved = sum.matmul(u[start / width]!).slice([], [0, count]), values = (await moved.data()) as Float32Array
      moved.dispose()
      if (errors.length > 0) sum.dispose()
      return values
    },
    async record(start, values) {
      const r = Math.floor(start / slab)
      errors[r] ??= tensor(new Float32Array(rows * slab), { shape: [rows, slab], device })
      errors[r] = await note(errors[r]!, tensor(new Float32Array(values), { shape: [rows, width], device }), place(start - r * slab))
    },
    dispose() {
      release()
      for (const t of [nothing, ...errors]) t.dispose()
    },
  }
}
