// How a driver computes is not part of WebGPU: it is tried out, on numbers of all sizes and on every 16-bit float.
import { f16Value } from "@thimble/core"
import { computeOnce } from "./once.ts"
import type { Numbers } from "../wgsl/template/holes.ts"

const count = 4096
const arithmetic = `
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let v = x[id.x];
  let joined = abs(v.x * v.y + v.z) + abs(v.z + v.x * v.y) + abs(v.z - v.x * -v.y) + abs(v.x * v.y - -v.z);
  y[id.x] = vec4<f32>(v.x / v.y, sqrt(abs(v.x)), joined, fma(v.x, v.y, v.z));
}`

/** Normal numbers whose quotients and products are normal, too; w is of no use. */
function inputs(): Float32Array<ArrayBuffer> {
  const x = new Float32Array(4 * count), words = new Uint32Array(x.buffer)
  let state = 1
  const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0)
  for (let i = 0; i < count; i++) {
    for (const k of [0, 1]) words[4 * i + k] = (random() & 0x80000000) | ((97 + (random() >>> 26)) << 23) | (random() >>> 9)
    x[4 * i + 2] = -x[4 * i]! * x[4 * i + 1]!
  }
  return x
}

async function probeArithmetic(device: GPUDevice): Promise<Omit<Numbers, "exactHalves">> {
  const x = inputs()
  const y = new Float32Array(await computeOnce(device, arithmetic, { source: new Uint32Array(x.buffer), bytes: x.byteLength, groups: count / 64 }))
  let exactDivision = true, exactRoot = true, contracts = false, fuses = true
  for (let i = 0; i < 4 * count; i += 4) {
    exactDivision &&= y[i] === Math.fround(x[i]! / x[i + 1]!)
    exactRoot &&= y[i + 1] === Math.fround(Math.sqrt(Math.abs(x[i]!)))
    contracts ||= y[i + 2] !== 0
    // What rounding the product lost has few bits.
    fuses &&= y[i + 3] === x[i]! * x[i + 1]! + x[i + 2]!
  }
  return { exactDivision, exactRoot, contracts, fuses }
}

const pairs = `
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec2<f32>>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) { y[id.x] = unpack2x16float(x[id.x]); }`

/** WGSL lets a driver take small halves for zero. */
async function probeHalves(device: GPUDevice): Promise<boolean> {
  const source = Uint16Array.from({ length: 1 << 16 }, (_, i) => i)
  const y = new Float32Array(await computeOnce(device, pairs, { source, bytes: 4 * source.length, groups: source.length / 128 }))
  return y.every((v, i) => Object.is(v, f16Value(i)))
}

export async function probeNumbers(device: GPUDevice): Promise<Numbers> {
  const [numbers, exactHalves] = await Promise.all([probeArithmetic(device), probeHalves(device)])
  return { ...numbers, exactHalves }
}
