import { architectureOf, moduleName } from "./architecture.ts"
import type { BlockRole, Config, ModelRole, Role } from "./config.ts"
import { blockShape } from "./shapes.ts"

/** A tensor that a model consists of. */
export interface Expected {
  /** Its full name, as in Hugging Face's checkpoints. */
  readonly name: string
  /** The name of its module. */
  readonly path: string
  readonly role: Role
  readonly kind: "matrix" | "norm" | "bias"
  /** Of matrices [out, in], as models hold them. */
  readonly shape: readonly number[]
  readonly layer?: number
}

const normRoles = ["attentionNorm", "queryNorm", "keyNorm", "attentionPostNorm", "feedNorm", "feedPostNorm", "embeddingNorm", "norm", "headNorm"] as const
const isNorm = (role: Role): boolean => (normRoles as readonly Role[]).includes(role)

/** Shapes of matrices by what they are for. */
function matrixShape(config: Config, role: Role, layer = 0): [number, number] {
  const { vocabulary, width, headSize, context, segments = 0 } = config, { heads, kvHeads, hidden } = blockShape(config, layer)
  const own = heads * headSize, shared = kvHeads * headSize
  const shapes: Partial<Record<Role, [number, number]>> = {
    embedding: [vocabulary, width], positions: [context, width], segments: [segments, width], head: [vocabulary, width], headTransform: [width, width],
    query: [own, width], key: [shared, width], value: [shared, width], qkv: [own + 2 * shared, width], output: [width, own],
    gate: [hidden, width], up: [hidden, width], gateUp: [2 * hidden, width], down: [width, hidden],
  }
  return shapes[role]!
}

/** All tensors that a model of a config consists of, in the order in which they are used. */
export function expectedTensors(config: Config): Expected[] {
  const a = architectureOf(config), out: Expected[] = []
  const add = (role: Role, path: string, layer?: number): void => {
    const at = layer === undefined ? {} : { layer }
    if (isNorm(role)) {
      const shape = [role === "queryNorm" || role === "keyNorm" ? config.headSize : config.width]
      out.push({ name: `${path}.weight`, path, role, kind: "norm", shape, ...at })
      if (a.norm === "layer") out.push({ name: `${path}.bias`, path, role, kind: "norm", shape, ...at })
      return
    }
    const shape = matrixShape(config, role, layer)
    if (!(role === "head" && config.tied)) out.push({ name: `${path}.weight`, path, role, kind: "matrix", shape, ...at })
    if (config.biases.includes(role)) out.push({ name: `${path}.bias`, path, role, kind: "bias", shape: [shape[0]], ...at })
  }
  const before = ["embedding", "positions", "segments", "embeddingNorm"] as const, after = ["norm", "headTransform", "headNorm", "head"] as const
  const own = (roles: readonly ModelRole[]): void => roles.forEach((role) => a.names[role] !== undefined && add(role, moduleName(a, role)))
  own(before)
  for (let layer = 0; layer < config.layers; layer++) for (const role of Object.keys(a.block) as BlockRole[]) add(role, moduleName(a, role, layer), layer)
  own(config.headless ? (["norm"] as const) : after)
  return out
}
