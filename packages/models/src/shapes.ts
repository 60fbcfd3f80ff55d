import type { Config } from "./config.ts"

/** What may differ between the blocks of a model. */
export interface BlockShape {
  readonly heads: number
  readonly kvHeads: number
  readonly hidden: number
}

/** The shape of one block. */
export function blockShape({ heads, kvHeads, hidden, shapes }: Config, layer: number): BlockShape {
  return shapes?.[layer] ?? { heads, kvHeads, hidden }
}

/** The shapes of all blocks. */
export const blockShapes = (config: Config): BlockShape[] => Array.from({ length: config.layers }, (_, layer) => blockShape(config, layer))

/** A config whose blocks have these shapes, one each: `shapes` is there only where they differ, and the other fields are the first block's. */
export function withShapes({ shapes: _, ...config }: Config, shapes: readonly BlockShape[]): Config {
  const [first] = shapes, same = shapes.every((s) => keys.every((k) => s[k] === first![k]))
  return { ...config, layers: shapes.length, ...pick(first!), ...(!same && { shapes: shapes.map(pick) }) }
}
const keys = ["heads", "kvHeads", "hidden"] as const
const pick = ({ heads, kvHeads, hidden }: BlockShape): BlockShape => ({ heads, kvHeads, hidden })
