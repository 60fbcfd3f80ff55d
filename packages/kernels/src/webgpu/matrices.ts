// Matrices of subgroups are an experiment of Dawn's, whose addresses have meant different things: before a product uses
// them, a small one is computed the way the template does, with lines longer than needed, along either axis.
import { f16Bits } from "@thimble/core"
import { matricesOf, type Matrices } from "../wgsl/template/matrices.ts"
import type { Features } from "../wgsl/template/holes.ts"
import { computeOnce } from "./once.ts"

const depth = 32

/** Vectors of eight halves: in a line of each operand, and from one line to the next. With `words` results go to memory that is declared so, and come back from there, too. */
function code({ m, n, k, subgroup }: Matrices, words: boolean): string {
  const perRow = n / 8, perFour = n / 4, perTerm = depth / 8, strides = { a: perTerm + 1, row: perRow + 1, column: perTerm + 1 }
  const left = `subgroup_matrix_left<f16, ${k}, ${m}>`, right = `subgroup_matrix_right<f16, ${n}, ${k}>`, result = `subgroup_matrix_result<f32, ${n}, ${m}>`
  const doubled = `
  subgroupMatrixStore<row_major>(&between, 0u, byRow, ${perFour + 1}u);
  workgroupBarrier();
  for (var i = thread; i < ${m * perFour}u; i += ${subgroup}u) {
    let at = i / ${perFour}u * ${perFour + 1}u + i % ${perFour}u;
    between[at] = bitcast<vec4<u32>>(2f * bitcast<vec4<f32>>(between[at]));
  }
  workgroupBarrier();
  byRow = subgroupMatrixLoad<${result}, row_major>(&between, 0u, ${perFour + 1}u);`
  return `
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> result: array<f32>;
var<workgroup> a: array<vec4<u32>, ${m * strides.a}>;
var<workgroup> rows: array<vec4<u32>, ${depth * strides.row}>;
var<workgroup> columns: array<vec4<u32>, ${n * strides.column}>;
var<workgroup> out: array<f32, ${2 * m * n}>;
var<workgroup> between: array<vec4<u32>, ${m * (perFour + 1)}>;
@compute @workgroup_size(${subgroup}) fn main(@builtin(local_invocation_index) thread: u32) {
  for (var i = thread; i < ${m * perTerm}u; i += ${subgroup}u) { a[i / ${perTerm}u * ${strides.a}u + i % ${perTerm}u] = source[i]; }
  for (var i = thread; i < ${depth * perRow}u; i += ${subgroup}u) { rows[i / ${perRow}u * ${strides.row}u + i % ${perRow}u] = source[${m * perTerm}u + i]; }
  for (var i = thread; i < ${n * perTerm}u; i += ${subgroup}u) { columns[i / ${perTerm}u * ${strides.column}u + i % ${perTerm}u] = source[${m * perTerm + depth * perRow}u + i]; }
  workgroupBarrier();
  var byRow = ${result}();
  var byColumn = ${result}();
  for (var q = 0u; q < ${depth / k}u; q++) {
    let left = subgroupMatrixLoad<${left}, row_major>(&a, q * ${k / 8}u, ${strides.a}u);
    byRow = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<${right}, row_major>(&rows, q * ${k * strides.row}u, ${strides.row}u), byRow);
    byColumn = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<${right}, col_major>(&columns, q * ${k / 8}u, ${strides.column}u), byColumn);
  }
${words ? doubled : ""}
  subgroupMatrixStore<row_major>(&out, 0u, byRow, ${n}u);
  subgroupMatrixStore<row_major>(&out, ${m * n}u, byColumn, ${n}u);
  workgroupBarrier();
  for (var i = thread; i < ${2 * m * n}u; i += ${subgroup}u) { result[i] = out[i]; }
}`
}

/** Whether a product on matrices of subgroups gives what it should; with `words`, the first of two results is doubled where it lies as words. */
async function work(device: GPUDevice, kind: Matrices, words: boolean): Promise<boolean> {
  const { m, n } = kind
  const a = Array.from({ length: m * depth }, (_, i) => ((i * 7) % 13) - 6), b = Array.from({ length: depth * n }, (_, i) => ((i * 5) % 11) - 5)
  const turned = b.map((_, i) => b[(i % depth) * n + Math.floor(i / depth)]!)
  const halves = Uint16Array.from([...a, ...b, ...turned], f16Bits)
  device.pushErrorScope("validation")
  try {
    const got = new Float32Array(await computeOnce(device, code(kind, words), { source: halves, bytes: 2 * m * n * 4, groups: 1 }))
    return got.every((v, at) => {
      const i = Math.floor(at / n) % m, j = at % n, factor = words && at < m * n ? 2 : 1
      return v === factor * Array.from({ length: depth }, (_, l) => a[i * depth + l]! * b[l * n + j]!).reduce((x, y) => x + y)
    })
  } catch {
    return false
  } finally {
    await device.popErrorScope()
  }
}

/** What an adapter says it offers, less the matrices that give something else than products, and less what does not work with them. */
export async function withMatricesThatWork(device: GPUDevice, told: Features): Promise<Features> {
  for (let features = told; ;) {
    const kind = matricesOf(features)
    if (kind === undefined || (await work(device, kind, true))) return features
    const typed = await work(device, kind, false)
    features = { ...features, matrices: features.matrices.flatMap((c) => (c.m !== kind.m || c.n !== kind.n || c.k !== kind.k ? [c] : typed ? [{ ...c, typed }] : [])) }
    if (typed) return features
  }
}
