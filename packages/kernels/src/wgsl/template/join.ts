// Values of many threads joined into one: by subgroups where they have one size, through workgroup memory otherwise.
import type { Features, PassHoles } from "./holes.ts"

/** How two values are joined, as text, and by a subgroup at once. */
export interface Joining { readonly of: (a: string, b: string) => string; readonly builtin: string }
export const sums: Joining = { of: (a, b) => `${a} + ${b}`, builtin: "subgroupAdd" }
export const products: Joining = { of: (a, b) => `${a} * ${b}`, builtin: "subgroupMul" }
export const largest: Joining = { of: (a, b) => `max(${a}, ${b})`, builtin: "subgroupMax" }

/** Bits of the largest magnitude of four: they order f32, and those of what is not finite are above all others, where `max` may pass NaN over. */
export const mostOf = `
fn mostOf(x: vec4<f32>) -> u32 { let bits = bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu); return max(max(bits.x, bits.y), max(bits.z, bits.w)); }`

export interface Joined { readonly declarations: string; readonly text: string }

/** Size of the subgroups if it is known, and divides a group of threads. */
export function fixedSubgroup({ subgroup }: Features, threads: number): number | undefined {
  return subgroup !== undefined && subgroup.least === subgroup.most && subgroup.least > 1 && threads % subgroup.least === 0 ? subgroup.least : undefined
}

/**
 * Joins variables over each `group` neighbouring threads of a workgroup of `threads`; afterwards all of them have the
 * results. The groups must divide the workgroup, all threads get here, and a name is used once in a kernel.
 */
export function joinAcross(pass: Pick<PassHoles, "enable">, features: Features, { variables, group, threads, how = sums, name = "joined", type = "f32" }:
  { readonly variables: readonly string[]; readonly group: number; readonly threads: number; readonly how?: Joining; readonly name?: string; readonly type?: string }): Joined {
  /** Joins over neighbours within a subgroup. */
  const swapped = (count: number): string => Array.from({ length: Math.log2(count) }, (_, s) => variables.map((v) => `${v} = ${how.of(v, `subgroupShuffleXor(${v}, ${1 << s}u)`)};`).join(" ")).join("\n")
  const whole = fixedSubgroup(features, threads)
  // Part of a subgroup: its threads swap values.
  if (whole !== undefined && group < whole && Number.isInteger(Math.log2(group)) && whole % group === 0) {
    pass.enable("subgroups")
    return { declarations: "", text: swapped(group) }
  }
  const own = fixedSubgroup(features, Math.min(group, threads)), size = own ?? 1
  if (own !== undefined) pass.enable("subgroups")
  const within = own === undefined ? "" : variables.map((v) => `${v} = ${how.builtin}(${v});`).join("\n")
  const left = group / size
  if (left <= 1) return { declarations: "", text: within }
  // One place for each subgroup, or each thread where there are none.
  const places = threads / size, at = (j: number): string => `${name}[place + ${j * places}]`
  const lines = [within, `{\nlet place = thread / ${size};`, variables.map((v, j) => (size === 1 ? `${at(j)} = ${v};` : `if (thread % ${size} == 0) { ${at(j)} = ${v}; }`)).join("\n"), "workgroupBarrier();"]
  if (left <= size && Number.isInteger(Math.log2(left))) {
    // A subgroup has a thread for each place: they swap again.
    lines.push(...variables.map((v, j) => `${v} = ${name}[thread / ${group} * ${left} + ${j * places} + thread % ${left}];`), swapped(left))
  } else if (left <= 8) {
    const first = (j: number, i: number): string => `${name}[thread / ${group} * ${left} + ${j * places + i}]`
    lines.push(...variables.map((v, j) => `${v} = ${Array.from({ length: left }, (_, i) => first(j, i)).reduce((a, b) => how.of(a, b))};`))
  } else {
    for (let half = left / 2; half >= 1; half /= 2)
      lines.push(`if (thread % ${size} == 0 && place % ${left} < ${half}) {`, ...variables.map((_, j) => `${at(j)} = ${how.of(at(j), `${name}[place + ${j * places + half}]`)};`), "}", "workgroupBarrier();")
    lines.push(...variables.map((v, j) => `${v} = ${name}[thread / ${group} * ${left} + ${j * places}];`))
  }
  lines.push("}")
  return { declarations: `var<workgroup> ${name}: array<${type}, ${places * variables.length}>;`, text: lines.join("\n") }
}
