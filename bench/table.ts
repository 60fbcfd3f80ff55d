import Table from "cli-table3"
import { ratio, type Row, type Unit } from "./row.ts"

/** All participants' figures for one work and number of threads, by name. */
export interface Line {
  work: string
  threads: number
  unit: Unit
  figures: Map<string, number>
}

/** One row for each peer that has a figure where we have one. */
export function rowsOf({ work, threads, unit, figures }: Line, ourName: string): Row[] {
  const ours = figures.get(ourName)
  if (ours === undefined) return []
  return [...figures]
    .filter(([name]) => name !== ourName)
    .map(([peer, theirs]) => ({ work, threads, unit, ours, peer, theirs, ratio: ratio(unit, ours, theirs) }))
}

/** Figures in columns; beside a peer's stands how many times faster we are. */
export function table(lines: readonly Line[], names: readonly string[], ourName: string): string {
  const peers = names.filter((name) => name !== ourName)
  const out = new Table({
    head: ["work", "threads", "unit", ourName, ...peers],
    colAligns: ["left", "right", "left", "right", ...peers.map(() => "right" as const)],
    style: { head: [], border: [], compact: true },
  })
  for (const { work, threads, unit, figures } of lines) {
    const ours = figures.get(ourName)
    const cells = peers.map((peer) => {
      const theirs = figures.get(peer)
      if (theirs === undefined) return "–"
      return ours === undefined ? short(theirs) : `${short(theirs)}  ${ratio(unit, ours, theirs).toFixed(2)}×`
    })
    out.push([work, threads, unit, ours === undefined ? "–" : short(ours), ...cells])
  }
  return out.toString()
}

export const short = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
