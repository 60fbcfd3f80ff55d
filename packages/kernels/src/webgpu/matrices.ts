// Matrices of subgroups are an experiment of Dawn's, whose addresses have meant different things: before a product uses
// them, a small one is computed the way the template does, with lines longer than needed, along either axis.
import { f16Bits } from "@thimble/core"
import { computeOnce } from "./once.ts"

const edge = 16, depth = 32
/** Vectors of eight halves from one line to the next. */
const strides = { a: depth / 8 + 1, row: edge / 8 + 1, column: depth / 8 + 1 }
const code = `
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> result: array<f32>;
var<workgroup> a: array<vec4<u32>, ${edge * strides.a}>;
var<workgroup> rows: array<vec4<u32>, ${depth * strides.row}>;
var<workgroup> columns: array<vec4<u32>, ${edge * strides.column}>;
var<workgroup> out: array<f32, ${2 * edge * edge}>;
@compute @workgroup_size(32) fn main(@builtin(local_invocation_index) thread: u32) {
  for (var i = thread; i < ${edge * 4}u; i += 32u) {
    a[i / 4u * ${strides.a}u + i % 4u] = source[i];
    rows[i / 2u * ${strides.row}u + i % 2u] = source[${edge * 4}u + i];
    columns[i / 4u * ${strides.column}u + i % 4u] = source[${edge * 8}u + i];
  }
  workgroupBarrier();
  var byRow = subgroup_matrix_result<f32, 16, 16>();
  var byColumn = subgroup_matrix_result<f32, 16, 16>();
  for (var q = 0u; q < 2u; q++) {
    let left = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a, q * 2u, ${strides.a}u);
    byRow = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, row_major>(&rows, q * 16u * ${strides.row}u, ${strides.row}u), byRow);
    byColumn = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&columns, q * 2u, ${strides.column}u), byColumn);
  }
  subgroupMatrixStore<row_major>(&out, 0u, byRow, 16u);
  subgroupMatrixStore<row_major>(&out, 256u, byColumn, 16u);
  workgroupBarrier();
  for (var i = thread; i < ${2 * edge * edge}u; i += 32u) { result[i] = out[i]; }
}`

/** Whether a product on matrices of subgroups gives what it should. */
export async function matricesWork(device: GPUDevice): Promise<boolean> {
  const a = Array.from({ length: edge * depth }, (_, i) => ((i * 7) % 13) - 6), b = Array.from({ length: depth * edge }, (_, i) => ((i * 5) % 11) - 5)
  const turned = a.map((_, i) => b[(i % depth) * edge + Math.floor(i / depth)]!)
  const halves = Uint16Array.from([...a, ...b, ...turned], f16Bits)
  device.pushErrorScope("validation")
  try {
    const got = new Float32Array(await computeOnce(device, code, { source: halves, bytes: 2 * edge * edge * 4, groups: 1 }))
    return got.every((v, at) => {
      const i = Math.floor(at / edge) % edge, j = at % edge
      return v === Array.from({ length: depth }, (_, l) => a[i * depth + l]! * b[l * edge + j]!).reduce((x, y) => x + y)
    })
  } catch {
    return false
  } finally {
    await device.popErrorScope()
  }
}
