import type { Binding } from "./module.ts"
import type { Pass } from "./template/holes.ts"

/** A dispatch, ready for a device: `units` workgroups of one module. */
export interface EmittedPass {
  readonly code: string
  readonly bindings: readonly Binding[]
  readonly readsArguments: boolean
  readonly units: number
  /** What the code was put together from. */
  readonly text: ModuleText
}
export interface Emitted {
  readonly passes: readonly EmittedPass[]
  /** Memory that the passes share, in bytes by name. */
  readonly scratch: Readonly<Record<string, number>>
  /** Parameters that have to be copied into one buffer, and their places into the arguments. */
  readonly packed: readonly number[]
}

/** The parts of a module's text. */
export interface ModuleText {
  readonly extensions: readonly string[]
  /** Buffers of group 0, by their bindings. */
  readonly storage: readonly { readonly name: string; readonly type: string; readonly writes: boolean }[]
  /** Rows of arguments, four words each, that are there; 0 where none is read. */
  readonly argumentRows: number
  readonly functions: string
  readonly entry: Entry
}

/** The function that a dispatch runs: `body` sees its unit and thread, and what is declared before it. */
export interface Entry { readonly units: number; readonly threads: readonly [x: number, y: number, z: number]; readonly subgroups: boolean; readonly declarations: string; readonly body: string }

/** Workgroups along the first dimension of a folded grid: what every adapter takes. */
export const gridWidth = 65535

export const entryPoint = ({ units, threads: [x, y = 1, z = 1] }: Pick<Pass, "units" | "threads">, body: string, { subgroups = false, declarations = "" } = {}): Entry =>
  ({ units, threads: [x, y, z], subgroups, declarations, body })

/** The lines of a module before its functions. */
function headText({ extensions, storage, argumentRows }: Pick<ModuleText, "extensions" | "storage" | "argumentRows">): string[] {
  return [
    ...extensions.map((e) => `enable ${e};`),
    // What a subgroup has in common, the analysis takes for different: it knows workgroups only.
    ...(extensions.includes("chromium_experimental_subgroup_matrix") ? ["diagnostic(off, chromium.subgroup_matrix_uniformity);"] : []),
    ...storage.map(({ name, type, writes }, i) => `@group(0) @binding(${i}) var<storage, ${writes ? "read_write" : "read"}> ${name}: array<${type}>;`),
    ...(argumentRows > 0 ? [`@group(1) @binding(0) var<uniform> arguments: array<vec4<u32>, ${argumentRows}>;`] : []),
  ]
}

/** The entry point around a body that sees its unit and thread. */
function entryText({ units, threads: [x, y, z], subgroups, declarations, body }: Entry): string {
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

export const moduleText = (text: ModuleText): string => [...headText(text), text.functions, entryText(text.entry)].filter((t) => t !== "").join("\n")
