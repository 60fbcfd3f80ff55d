// Two products of one operand that meet in arithmetic, as the gate and the values of a gated layer do. Where a device
// computes both in one kernel, what they become is that kernel's result: neither is stored by itself.
import type { Device } from "./device.ts"
import type { Node } from "./graph.ts"
import type { TemplateLoad } from "./tensor.ts"

/** Sources that are read by a load. */
const sourcesOf = (l: TemplateLoad): readonly number[] => ("source" in l ? [l.source] : l.sources)

/** Operands of the second of a pair that the first does not have. */
export function ownLoads({ tensor: { op, attrs }, tensor }: Node): [string, TemplateLoad][] {
  const { loads, paired } = op.template!, shared = paired!(attrs)
  return Object.entries(loads(tensor, attrs)).filter(([, l]) => sourcesOf(l).some((s) => s >= shared))
}

/** Whether the device computes two composites side by side: of one op, at equal sizes, with the same first sources. */
export function arePair(a: Node, b: Node, device: Device): boolean {
  const { op, dtype } = a.tensor
  if (a === b || a.kind !== "template" || b.kind !== "template" || op !== b.tensor.op || dtype !== b.tensor.dtype) return false
  const { dims, loads, paired } = op.template!
  if (paired === undefined) return false
  for (let i = paired(a.tensor.attrs); i-- > 0;) if (a.sources[i] !== b.sources[i]) return false
  const own = dims(a.tensor, a.tensor.attrs), other = dims(b.tensor, b.tensor.attrs)
  for (const name in own) if (own[name] !== other[name]) return false
  const names = ({ tensor }: Node): string => Object.keys(loads(tensor, tensor.attrs)).join()
  return names(a) === names(b) && device.pairs?.(op.name, own, dtype) === true
}

/** Has values stored in which such a pair meets, so that they end the pair's kernel instead of beginning their reader's. */
export function storeMeetings(nodes: readonly Node[], device: Device): void {
  if (device.pairs === undefined) return
  /** The composite whose result a value is made of, element by element. */
  const made = new Map<Node, Node>()
  for (const node of nodes) {
    if (node.kind === "template" && !node.stored && node.tensor.op.template!.paired !== undefined) made.set(node, node)
    if (node.kind !== "scalar" && node.tensor.op.flat !== true) continue
    let one: Node | undefined, other: Node | undefined
    for (const s of node.sources) {
      const found = made.get(s)
      if (found === undefined || found === one) continue
      if (one === undefined) one = found
      else other = found
    }
    if (one === undefined) continue
    if (other === undefined) made.set(node, one)
    else if (arePair(one, other, device)) node.stored = true
  }
}
