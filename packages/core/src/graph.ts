import type { Device } from "./device.ts"
import type { Evaluation } from "./lower.ts"
import type { Use } from "./schedule.ts"
import { apply, type Op, type Tensor } from "./tensor.ts"

const copyOp: Op<undefined> = {
  name: "copy",
  meaning: { scalar: ([x]) => x! },
  result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
}
/** The same value in memory of its own. */
export const copyOf = (t: Tensor): Tensor => apply(copyOp, [t], undefined)

/**
 * How a value comes about: a `value` is in memory before anything runs, a `number` is a run-time scalar, a `template` is
 * a composite that the device has a kernel for; the others are meanings of ops.
 */
type Kind = "value" | "number" | "scalar" | "move" | "at" | "reduce" | "template" | "routine"

/** A tensor of a graph that is being scheduled. */
export interface Node {
  /** What it is computed as: itself, or the expansion of a composite that the device has no kernel for. */
  readonly tensor: Tensor
  readonly kind: Kind
  readonly size: number
  readonly sources: Node[]
  /** Who reads it; the latest of a list. */
  use: Use | undefined
  /** Gets memory for reasons of its own: it is an output, a routine reads it, or a chain of ops is cut here. */
  stored: boolean
  /** A kernel writes it, and others load it. */
  root: boolean
  /** One number made of constants and run-time scalars only. */
  constant: boolean
  /** How many ops in a row one kernel computes up to here. */
  chain: number
  /** When it was last visited; each walk counts on from the walk before. */
  visited: number
  /** Its values at the coordinates where the kernel that was lowered last needs it; the latest of a list. */
  evaluation: Evaluation | undefined
}

/** The graph below these tensors, sources first, and each output's node: all distinct, none in memory before it is computed. */
export function graphOf(tensors: readonly Tensor[], device: Device): { nodes: Node[]; outputs: Node[] } {
  const known = new Map<Tensor, Node>()
  const nodeOf = (t: Tensor): Node => {
    let node = known.get(t)
    if (node !== undefined) return node
    const tensor = expanded(t, device)
    if (tensor !== t) node = known.get(tensor)
    if (node === undefined) known.set(tensor, (node = newNode(tensor)))
    if (tensor !== t) known.set(t, node)
    return node
  }
  const outputs = new Set<Node>()
  for (const t of tensors) {
    const node = nodeOf(t)
    // Every output gets memory of its own, also when it turns out to be an operand or another output.
    outputs.add(node.kind === "value" || outputs.has(node) ? nodeOf(copyOf(node.tensor)) : node)
  }
  const nodes: Node[] = []
  // Iterative, because graphs of training loops are deep: nodes that are waited for, and how many sources each has by now.
  const stack: Node[] = [], found: number[] = []
  const push = (node: Node): void => {
    if (node.visited > 0) return
    node.visited = 1
    stack.push(node)
    found.push(0)
  }
  for (const output of outputs) {
    push(output)
    while (stack.length > 0) {
      const { tensor, sources } = stack[stack.length - 1]!, next = found[stack.length - 1]!++
      if (next < sources.length) push((sources[next] = nodeOf(tensor.sources[next]!)))
      else {
        nodes.push(stack.pop()!)
        found.pop()
      }
    }
  }
  return { nodes, outputs: [...outputs] }
}

function newNode(tensor: Tensor): Node {
  const kind = kindOf(tensor)
  const sources = new Array<Node>(kind === "value" ? 0 : tensor.sources.length)
  return { tensor, kind, size: tensor.size, sources, use: undefined, stored: false, root: false, constant: false, chain: 0, visited: 0, evaluation: undefined }
}

function expanded(t: Tensor, device: Device): Tensor {
  while (t.storage === undefined && "expand" in t.op.meaning) {
    const wider = t.op.template?.wider?.(t, t.attrs)
    if (wider !== undefined && hasKernel(wider, device)) return wider
    if (hasKernel(t, device)) return t
    t = t.op.meaning.expand(t.sources, t.attrs)
  }
  return t
}
function hasKernel(t: Tensor, device: Device): boolean {
  const { template } = t.op
  return template !== undefined && device.accepts(t.op.name, template.dims(t, t.attrs), t.dtype)
}

function kindOf({ op: { meaning }, storage }: Tensor): Kind {
  if (storage !== undefined) return "value"
  if ("scalar" in meaning) return "scalar"
  if ("move" in meaning) return "move"
  if ("at" in meaning) return "at"
  if ("reduce" in meaning) return "reduce"
  if ("expand" in meaning) return "template"
  if ("routine" in meaning) return "routine"
  return meaning.leaf === "scalar" ? "number" : "value"
}
