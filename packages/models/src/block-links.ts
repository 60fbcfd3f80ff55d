import { moduleName, type Architecture } from "./architecture.ts"
import type { BlockRole, Config } from "./config.ts"
import type { Slot } from "./links.ts"
import { blockShape } from "./shapes.ts"

/** Rows (or columns, where it is read) of a module. */
export interface Part {
  /** The module's name. */
  readonly path: string
  /** Which rows, in runs from begin to before end; all unless given. */
  readonly rows?: readonly (readonly [begin: number, end: number])[]
}
/** A {@link Part}, and how many neighbours of it make up one channel. */
export interface Channels extends Part { readonly size: number }

/** The links of one block, by the names of its modules. */
export interface BlockLinks {
  /** `repeat`: runs of `size` channels of `from` stand `times` times, one after the other, in what reads them (grouped queries). */
  readonly fold: readonly { readonly from: Part; readonly into: readonly Part[]; readonly repeat?: { readonly size: number; readonly times: number } }[]
  readonly channels: readonly { readonly name: "hidden" | "heads"; readonly count: number; readonly rows: readonly Channels[]; readonly columns: readonly Channels[] }[]
}

/** Where a slot's rows are. */
function partOf(a: Architecture, config: Config, slot: Slot, layer: number): Part {
  const { headSize } = config, { heads, kvHeads, hidden } = blockShape(config, layer)
  const at = (role: BlockRole, rows?: Part["rows"]): Part => ({ path: moduleName(a, role, layer), ...(rows && { rows }) })
  if (a.block[slot] !== undefined) return at(slot)
  if (slot === "gate" || slot === "up") return at("gateUp", [slot === "gate" ? [0, hidden] : [hidden, 2 * hidden]])
  const place = ["query", "key", "value"].indexOf(slot)
  if (a.fused === "heads") return at("qkv", Array.from({ length: heads }, (_, h) => [(3 * h + place) * headSize, (3 * h + place + 1) * headSize]))
  const begin = [0, heads, heads + kvHeads][place]! * headSize
  return at("qkv", [[begin, begin + (place === 0 ? heads : kvHeads) * headSize]])
}

/** The links of a block. Whole matrices that several slots share are named once. */
export function blockLinks(a: Architecture, config: Config, layer: number): BlockLinks {
  const { headSize } = config, { heads, kvHeads, hidden } = blockShape(config, layer)
  const parts = (slots: readonly Slot[]): Part[] => slots.map((s) => partOf(a, config, s, layer))
  // What reads a part of a stream reads it with all its rows.
  const readers = (slots: readonly Slot[]): Part[] => [...new Set(parts(slots).map((p) => p.path))].map((path) => ({ path }))
  const perHead: Readonly<Partial<Record<Slot, number>>> = { query: heads / kvHeads, output: heads / kvHeads }
  const sized = (slots: readonly Slot[], name: "hidden" | "heads"): Channels[] => parts(slots).map((p, i) => ({ ...p, size: name === "hidden" ? 1 : (perHead[slots[i]!] ?? 1) * headSize }))
  return {
    fold: a.links.fold.map(({ from, into }) => ({
      from: partOf(a, config, from, layer), into: readers(into),
      ...(from === "value" && heads > kvHeads && { repeat: { size: headSize, times: heads / kvHeads } }),
    })),
    channels: a.links.channels.map(({ name, rows, columns }) => ({ name, count: name === "hidden" ? hidden : kvHeads, rows: sized(rows, name), columns: sized(columns, name) })),
  }
}
