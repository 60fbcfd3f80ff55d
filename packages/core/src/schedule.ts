import type { Device } from "./device.ts"
import { graphOf, type Node } from "./graph.ts"
import { arePair, storeMeetings } from "./pairs.ts"
import { sizeOf } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

/**
 * The scheduler cuts a graph into groups, one kernel each, by one rule: a reduction, a tuned composite or a routine ends
 * a kernel; everything else joins the one kernel that reads it. It is stored instead when two kernels read it, when one
 * kernel reads it at two different coordinates, or when a broadcast would compute it again and again. Movement and
 * other cheap ops are never stored for the sake of a consumer.
 */
export interface Schedule {
  /** Kernels in an order in which every source comes first. */
  readonly groups: readonly Group[]
  /** What holds the value of each output, in the order of the outputs: all distinct, and none is an operand's memory. */
  readonly outputs: readonly Node[]
}

/** What becomes one kernel: the stored `root`, and the reduction or composite whose epilogue the root's arithmetic is. */
export interface Group {
  readonly root: Node
  /** The reduction, tuned composite or routine inside, if any; may be the root itself. */
  core: Node | undefined
  /** A second tuned composite beside the core, see pairs.ts: the root's arithmetic joins both. */
  pair: Node | undefined
  readonly frame: Frame
  /** A donated operand that the root replaces part of: the kernel computes that part only, into the operand's memory. */
  readonly over: Node | undefined
}

/** A set of coordinates at which a kernel evaluates something; two reads in one frame are one evaluation. */
interface Frame { readonly size: number }
export interface Use { readonly group: Group; readonly frame: Frame; readonly before: Use | undefined }

/** The memory of `donated` tensors may be written to. */
export function schedule(tensors: readonly Tensor[], device: Device, donated: ReadonlySet<Tensor> = new Set()): Schedule {
  const { nodes, outputs } = graphOf(tensors, device)
  const over = donated.size === 0 ? undefined : updated(nodes, outputs, donated)
  for (const node of outputs) node.stored = true
  for (const { kind, sources } of nodes) if (kind === "routine") for (const s of sources) s.stored = true
  storeMeetings(nodes, device)
  for (const node of nodes) describe(node)

  const groups: Group[] = []
  const newGroup = (root: Node, core?: Node): Group => {
    const into = core === undefined ? over?.get(root) : undefined
    const group = { root, core, pair: undefined, frame: { size: into === undefined ? root.size : root.sources[1]!.size }, over: into }
    root.root = true
    groups.push(group)
    return group
  }
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i]!
    const { kind, use, stored } = node
    if (kind === "value" || (kind === "number" && !stored)) continue
    const only = use?.before === undefined ? use : undefined
    if (kind === "reduce" || kind === "template" || kind === "routine") {
      const host = stored || kind === "routine" || only === undefined ? undefined : only.group
      const fits = host !== undefined && only!.frame === host.frame && host.frame.size === node.size
      if (fits && host.core === undefined) {
        host.core = node
        readByCore(node, host)
      } else if (fits && host.pair === undefined && arePair(host.core!, node, device)) {
        host.pair = node
        readByCore(node, host)
      } else readByCore(node, newGroup(node, node))
      continue
    }
    const joins = !stored && (isFree(node) || node.constant || (only !== undefined && only.frame.size <= node.size))
    const sameFrame = kind === "scalar" || node.tensor.op.flat === true
    const read = (group: Group, frame: Frame): void => {
      for (const s of node.sources) addUse(s, group, sameFrame ? frame : { size: frame.size })
    }
    if (joins) for (let u = use; u !== undefined; u = u.before) read(u.group, u.frame)
    else {
      const group = newGroup(node)
      read(group, group.frame)
    }
  }
  return { groups: groups.reverse(), outputs }
}

/** Of each output that replaces part of a donated operand which nothing else reads: that operand. */
function updated(nodes: readonly Node[], outputs: readonly Node[], donated: ReadonlySet<Tensor>): ReadonlyMap<Node, Node> {
  const readers = new Map<Node, number>()
  for (const { sources } of nodes) for (const s of sources) readers.set(s, (readers.get(s) ?? 0) + 1)
  const found = new Map<Node, Node>()
  for (const output of outputs) {
    const [target] = output.sources
    if (output.tensor.op.into !== undefined && target?.kind === "value" && donated.has(target.tensor) && readers.get(target) === 1) found.set(output, target)
  }
  return found
}

function addUse(node: Node, group: Group, frame: Frame): void {
  for (let u = node.use; u !== undefined; u = u.before) if (u.group === group && u.frame === frame) return
  node.use = { group, frame, before: node.use }
}

/** A reduction reads its source once per element, a template each operand at its own coordinates, a routine whole arrays. */
function readByCore({ tensor: { op, attrs }, kind, sources, tensor }: Node, group: Group): void {
  if (kind !== "template") for (const s of sources) addUse(s, group, { size: s.size })
  else
    for (const l of Object.values(op.template!.loads(tensor, attrs)))
      for (const s of "source" in l ? [l.source] : l.sources) addUse(sources[s]!, group, { size: sizeOf(l.shape) })
}

/** Movement and other cheap ops, and what reads nothing. */
const isFree = ({ kind, sources, tensor }: Node): boolean => kind === "move" || sources.length === 0 || tensor.op.cheap === true

/**
 * Longest chain of ops that one kernel computes. Expressions are walked recursively, some ops are twenty operations deep,
 * and the stack bears about 1500; what is stored in between costs little beside so much arithmetic.
 */
const longestChain = 32

/** What is known of a node once it is known of its sources. */
function describe(node: Node): void {
  const { kind, sources, size } = node
  const computed = kind === "scalar" || kind === "move" || kind === "at"
  // Computing single numbers again is cheaper than a kernel.
  node.constant = (computed || kind === "number") && size === 1 && sources.every((s) => s.constant)
  if (!computed || node.stored) return
  for (const s of sources) node.chain = Math.max(node.chain, 1 + s.chain)
  // What moves only is left to the next that computes, as long as there is one.
  if (node.chain < (kind === "move" ? 2 * longestChain : longestChain)) return
  node.stored = true
  node.chain = 0
}
