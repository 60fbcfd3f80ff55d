import type { Node } from "./graph.ts"
import type { Kernel } from "./kernel.ts"
import { isLoaded, lower, type Lowered } from "./lower.ts"
import type { Group } from "./schedule.ts"
import { Structure } from "./structure.ts"

/** What the words of a group say before those of a node. */
const is = { known: 0, loaded: 1, core: 2, computed: 3, updated: 4, pair: 5 } as const

/** A kernel, where its group's words begin, and which of the nodes they name are its inputs and scalars. */
interface Shared { readonly words: number; readonly kernel: Kernel; readonly inputs: readonly number[]; readonly scalars: readonly number[] }

/** Lowers the groups of one graph. Groups of equal structure, as the layers of a model have them, are lowered once. */
export function sharedLowering(): (group: Group) => Lowered {
  const structure = new Structure()
  /** By the hash of their words; where two have the same, the later one is kept. */
  const shared = new Map<number, Shared>()
  /** The nodes of a group in the order of the walk, and their number. Visits before `first` were of another walk. */
  const nodes: Node[] = []
  let count = 0, first = 2
  const walk = (node: Node, group: Group): void => {
    if (node.visited >= first) {
      structure.add(is.known)
      structure.add(node.visited - first)
      return
    }
    node.visited = first + count
    nodes[count++] = node
    if (isLoaded(node, group)) {
      structure.add(is.loaded)
      structure.addType(node.tensor)
      return
    }
    structure.add(node === group.core ? is.core : node === group.pair ? is.pair : node === group.root && group.over !== undefined ? is.updated : is.computed)
    structure.addTensor(node.tensor)
    structure.add(node.sources.length)
    for (let i = 0; i < node.sources.length; i++) walk(node.sources[i]!, group)
  }
  return (group) => {
    const words = structure.length
    first += count
    count = 0
    walk(group.root, group)
    const hash = structure.hash(words)
    const found = shared.get(hash)
    if (found !== undefined && structure.repeats(words, found.words)) {
      structure.length = words
      const at = (place: number): Node => nodes[place]!
      return { kernel: found.kernel, inputs: found.inputs.map(at), scalars: found.scalars.map(at) }
    }
    const lowered = lower(group)
    const place = (node: Node): number => node.visited - first
    shared.set(hash, { words, kernel: lowered.kernel, inputs: lowered.inputs.map(place), scalars: lowered.scalars.map(place) })
    return lowered
  }
}
