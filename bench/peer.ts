import type { Op, Work, WorkOf } from "./work.ts"

/** A work made ready by a participant: inputs are in its own memory, kernels are compiled. */
export interface Ready {
  /** One run, finished when the promise is: the result is computed, though it may stay in the participant's memory. On a GPU it is queued. */
  run(): Promise<void>
  /** Waits for runs that were queued, where the participant itself can tell. */
  wait?(): Promise<void>
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
export type Abilities = { readonly [O in Op]?: (work: WorkOf<O>, threads: number) => Ready | Absent | Promise<Ready | Absent> }

export async function prepareFrom(abilities: Abilities, work: Work, threads: number): Promise<Ready | Absent> {
  const prepare = abilities[work.op] as ((work: Work, threads: number) => Ready | Absent | Promise<Ready | Absent>) | undefined
  return prepare ? await prepare(work, threads) : { absent: `has no ${work.op}` }
}
