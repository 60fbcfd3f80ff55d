/** A value, or one that a device still computes. */
export type Maybe<T> = T | Promise<T>

/** A computation that waits where a device may have to; `now` and `later` run it. */
export type Steps<T> = Generator<unknown, T, unknown>

/** The value itself, in a computation that goes on when it is there. */
export function* wait<T>(value: Maybe<T>): Steps<T> {
  return (yield value) as T
}

/** Runs a computation that waits for nothing. */
export function now<T>(steps: Steps<T>): T {
  let step = steps.next()
  while (!step.done) step = steps.next(step.value)
  return step.value
}

/** Runs a computation, waiting where it waits. */
export async function later<T>(steps: Steps<T>): Promise<T> {
  let step = steps.next()
  while (!step.done) {
    let value: unknown
    try {
      value = await step.value
    } catch (error) {
      step = steps.throw(error)
      continue
    }
    step = steps.next(value)
  }
  return step.value
}

/**
 * The large products of a solver for an H, in some precision and some place. Columns are named by their place in the order
 * in which they are rounded; blocks are `block` of them, the last one may have fewer.
 */
export interface Arithmetic {
  /** The diagonal of H, by column. */
  diagonal(): Maybe<Float64Array>
  /**
   * Factors H with so much added to its diagonal (by column), columns in this order, into V·Vᵀ, V upper triangular. Or names
   * the first pivot, from the last column on, that is not above zero, to the precision of H.
   */
  factor(order: Int32Array, added: Float64Array, block: number): Maybe<Factor | { readonly pivot: number }>
}

/** V, block by block, and what it makes of errors. */
export interface Factor {
  /** The inverse of V's block on the diagonal that begins at `start`, upper triangular, row-major. */
  inverse(start: number): Float64Array
  /** What to add to the weights of a block, [rows, width], so that they make up for the errors of all blocks before it. */
  correction(start: number): Maybe<Float32Array | Float64Array>
  /** Takes note of the errors w − ŵ of a block, [rows, width]. */
  record(start: number, errors: Float64Array): Maybe<void>
  /** Releases what it holds. */
  dispose(): void
}
