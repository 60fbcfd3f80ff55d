import type { Op, Work, WorkOf } from "./work.ts"

/** A work made ready by a participant: inputs are in its own memory, kernels are compiled. */
export interface Ready {
  /** One run, finished when the promise is: the result is computed, though it may stay in the participant's memory. */
  run(): Promise<void>
  /** What the last run computed. */
  result(): Promise<Float32Array>
  close(): Promise<void>
}

/** Why a participant has no figure for a work. */
export interface Absent {
  absent: string
}

export interface Peer {
  readonly name: string
  prepare(work: Work, threads: number): Promise<Ready | Absent>
}

/** One entry per op a participant can do. */
export type Abilities = { readonly [O in Op]?: (work: WorkOf<O>, threads: number) => Ready | Promise<Ready> }

export async function prepareFrom(abilities: Abilities, work: Work, threads: number): Promise<Ready | Absent> {
  const prepare = abilities[work.op] as ((work: Work, threads: number) => Ready | Promise<Ready>) | undefined
  return prepare ? await prepare(work, threads) : { absent: `has no ${work.op}` }
}
