import { dtypes, fail, showShape, type EncodeOptions, type Format, type Part, type TypedArray } from "@thimble/core"
import { formatNamed } from "../format/named.ts"
import type { MatrixShape, Parts, Quantizer } from "../quantizer.ts"
import { callHelpers, releaseHelpers, type Helper } from "./helper.ts"

export interface EncodeRowsOptions extends EncodeOptions {
  /** Threads that encode, the calling one among them; as many as there are processors unless given. */
  readonly threads?: number
  /** Ends encoding with the signal's reason. */
  readonly signal?: AbortSignal
  /** Told how many rows are done, now and then. */
  readonly onProgress?: (rows: number, of: number) => void
}

/** Elements that a thread takes at a time, about; and of a matrix for which other threads are called. */
const piece = 2 ** 18, worthwhile = 2 ** 21

const processors = (): number => (typeof navigator === "object" ? navigator.hardwareConcurrency : 1) || 1

/**
 * What `format.encode` gives, the same bytes or the same error, by several threads and without keeping the calling one for
 * long: rows are taken piece by piece, and between pieces events have their turn. Formats whose groups depend on one another
 * are encoded at once. Other threads know the formats that `formatNamed` knows; any else, and matrices that
 * take no time, are encoded on this one, as is everything where threads cannot be had.
 */
export async function encodeRows(format: Format & Partial<Pick<Quantizer, "laws">>, values: Float32Array, shape: MatrixShape, options: EncodeRowsOptions = {}): Promise<Parts> {
  const { threads = processors(), signal, onProgress, importance } = options, [rows, columns] = shape
  if (!(Number.isInteger(threads) && threads >= 1)) fail("value", "encodeRows", `threads must be a whole number ≥ 1, got ${threads}`)
  if (values.length !== rows * columns) fail("shape", "encodeRows", `${values.length} values for ${showShape(shape)}`)
  signal?.throwIfAborted()
  const height = Math.max(1, Math.floor(piece / Math.max(1, columns))), own = importance && { importance }
  const found = rows > height && format.laws?.includes("groups") ? await byPieces() : undefined
  // Where a piece failed, the whole fails with the places of the whole.
  const parts = found ?? format.encode(values, shape, own)
  onProgress?.(rows, rows)
  return parts

  async function byPieces(): Promise<Parts | undefined> {
    const shared = threads > 1 && values.length >= worthwhile && isNamed(format), helpers = shared ? callHelpers(Math.min(threads, 64) - 1) : []
    const joined: Record<string, Part> = {}, waiting: Promise<void>[] = []
    let next = 0, done = 0, failed = false, ended = false, problem: { readonly error: unknown } | undefined
    const take = (): { readonly from: number; readonly shape: MatrixShape; readonly values: Float32Array } => {
      const from = next, to = (next = Math.min(rows, from + height))
      return { from, shape: [to - from, columns], values: values.subarray(from * columns, to * columns) }
    }
    const put = (from: number, count: number, parts: Parts | undefined): void => {
      if (ended) return
      failed ||= parts === undefined || !place(joined, rows, from, count, parts)
      done += count
      // All are done when this returns.
      if (done < rows) onProgress?.(done, rows)
    }
    const ask = async (helper: Helper): Promise<void> => {
      const { from, shape: some, values: own } = take()
      try {
        put(from, some[0], await helper.encode(format.name, own.slice(), some, importance))
      } catch (error) {
        problem ??= { error }
      }
    }
    const check = (): void => {
      signal?.throwIfAborted()
      if (problem) throw problem.error
    }
    try {
      while (next < rows && !failed) {
        for (const helper of helpers) while (helper.free && next < rows) waiting.push(ask(helper))
        if (next < rows) {
          const { from, shape: some, values: mine } = take()
          put(from, some[0], attempt(() => format.encode(mine, some, own)))
        }
        await turn()
        check()
      }
      await Promise.all(waiting)
      check()
    } finally {
      ended = true
      if (shared) releaseHelpers()
    }
    return failed ? undefined : joined
  }
}

/** Whether another thread finds the same format by its name. Formats that are made anew each time are known by their code. */
function isNamed(format: Format): boolean {
  const named = attempt(() => formatNamed(format.name))
  return named === format || (named !== undefined && !("block" in named) && named.name === format.name && String(named.encode) === String(format.encode))
}

function attempt<T>(fn: () => T): T | undefined {
  try {
    return fn()
  } catch {
    return undefined
  }
}

/** Lets messages and other events have their turn. */
const turn = (): Promise<void> => new Promise((resolve) => void (typeof setImmediate === "function" ? setImmediate(resolve) : setTimeout(resolve, 0)))

/** Puts the parts of `count` rows where they belong; false if they are no parts of rows. */
function place(joined: Record<string, Part>, rows: number, from: number, count: number, parts: Parts): boolean {
  for (const [name, { data, shape, dtype }] of Object.entries(parts)) {
    if (shape[0] !== count || data.length % count !== 0) return false
    const each = data.length / count
    const { array } = dtypes[dtype]
    joined[name] ??= { data: new array(new ArrayBuffer(rows * each * data.BYTES_PER_ELEMENT)), shape: [rows, ...shape.slice(1)], dtype }
    set(joined[name].data, data, from * each)
  }
  return true
}
/** Arrays of one type each, which their union does not tell. */
const set = (to: TypedArray, from: TypedArray, at: number): void => (to as Uint8Array).set(from as Uint8Array, at)
