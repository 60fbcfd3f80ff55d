import type { Binding } from "./module.ts"
import type { Pass } from "./template/holes.ts"

/** A dispatch, ready for a device: `units` workgroups of one module. */
export interface EmittedPass {
  readonly code: string
  readonly bindings: readonly Binding[]
  readonly readsArguments: boolean
  readonly units: number
}
export interface Emitted {
  readonly passes: readonly EmittedPass[]
  /** Memory that the passes share, in bytes by name. */
  readonly scratch: Readonly<Record<string, number>>
  /** Parameters that have to be copied into one buffer, and their places into the arguments. */
  readonly packed: readonly number[]
}

/** Workgroups along the first dimension of a folded grid: what every adapter takes. */
export const gridWidth = 65535

/** The entry point around a body that sees its unit and thread. */
export function entryPoint({ units, threads }: Pick<Pass, "units" | "threads">, body: string, { subgroups = false, declarations = "" } = {}): string {
  const [x, y = 1, z = 1] = threads
  const inputs = [
    "@builtin(workgroup_id) group: vec3<u32>", "@builtin(local_invocation_id) local: vec3<u32>", "@builtin(local_invocation_index) index: u32",
    ...(subgroups ? ["@builtin(subgroup_invocation_id) lane_: u32", "@builtin(subgroup_size) subgroup_size_: u32"] : []),
  ]
  const unit = units > gridWidth ? `i32(group.x + group.y * ${gridWidth}u)` : "i32(group.x)"
  return `${declarations}
@compute @workgroup_size(${x}, ${y}, ${z})
fn main(${inputs.join(", ")}) {
let unit = ${unit};
let thread = i32(index);
${units > gridWidth ? `if (unit >= ${units}) { return; }\n` : ""}${subgroups ? "let lane = i32(lane_);\nlet subgroupSize = i32(subgroup_size_);\n" : ""}${body}
}`
}
