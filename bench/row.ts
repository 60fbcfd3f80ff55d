export type Unit = "ms" | "GFLOP/s" | "GB/s"

/** One comparison: a work, a number of threads, us and one peer. */
export interface Row {
  work: string
  threads: number
  unit: Unit
  ours: number
  peer: string
  theirs: number
  /** Above 1: we are faster, whatever the unit. */
  ratio: number
}

/** How many times faster `ours` is than `theirs`: less is better for ms, more is better for a rate. */
export const ratio = (unit: Unit, ours: number, theirs: number): number => (unit === "ms" ? theirs / ours : ours / theirs)

/** The figure to show for a run of `ms` milliseconds that does `amount` GFLOP or GB. */
export const figure = (unit: Unit, amount: number, ms: number): number => (unit === "ms" ? ms : amount / (ms / 1000))
