// Kernels of the CPU device other than matmul, through the device: rows, maps, reductions, transposes, attention.
// node bench/kernels/rows.ts [filter] [threads]   e.g. "softmax" 1. Prints the least and the median time of a run.
import { compile, random, tensor, withDevice, type AttentionOptions, type Device, type Tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { median } from "../measure.ts"

interface Case {
  readonly name: string
  readonly inputs: () => Tensor[]
  readonly run: (...x: Tensor[]) => Tensor
  /** Bytes that must move, for a rate in GB/s. */
  readonly bytes?: number
  readonly flops?: number
}

let seed = 0
const normal = (...shape: number[]): Tensor => random.normal(random.key(seed++), shape)
const side = 4096, million4 = side * 1024, square = 4 * side * side
const wide = () => [normal(side, side)]
const vectors = () => [normal(side, side), normal(side), normal(side)]

const attend = (name: string, q: number[], k: number[], options: AttentionOptions = {}): Case => ({
  name,
  inputs: () => [normal(...q), normal(...k), normal(...k)],
  run: (q, k, v) => q!.attention(k!, v!, options),
  bytes: 8 * k.reduce((a, b) => a * b, 1),
  flops: 4 * q.reduce((a, b) => a * b, 1) * k[2]! * (options.causal === true && q[2]! > 1 ? 0.5 : 1),
})

const cases: Case[] = [
  { name: "exp 4M", inputs: () => [normal(million4)], run: (x) => x!.exp(), bytes: 8 * million4 },
  { name: "log 4M", inputs: () => [normal(million4).abs()], run: (x) => x!.log(), bytes: 8 * million4 },
  { name: "tanh 4M", inputs: () => [normal(million4)], run: (x) => x!.tanh(), bytes: 8 * million4 },
  { name: "erf gelu 4M", inputs: () => [normal(million4)], run: (x) => x!.gelu(), bytes: 8 * million4 },
  { name: "gelu(x·a+b) 4M", inputs: () => [normal(million4)], run: (x) => x!.mul(1.5).add(0.25).geluTanh(), bytes: 8 * million4 },
  { name: "silu 4M", inputs: () => [normal(million4)], run: (x) => x!.silu(), bytes: 8 * million4 },
  { name: "add 4M", inputs: () => [normal(million4), normal(million4)], run: (x, y) => x!.add(y!), bytes: 12 * million4 },
  { name: "softmax 4096²", inputs: wide, run: (x) => x!.softmax(), bytes: 2 * square },
  { name: "logSoftmax 4096²", inputs: wide, run: (x) => x!.logSoftmax(), bytes: 2 * square },
  { name: "layerNorm 4096²", inputs: vectors, run: (x, w, b) => x!.layerNorm(w!, b!), bytes: 2 * square },
  { name: "rmsNorm 4096²", inputs: vectors, run: (x, w) => x!.rmsNorm(w!), bytes: 2 * square },
  { name: "softmax 65536×64", inputs: () => [normal(65536, 64)], run: (x) => x!.softmax(), bytes: 8 * 65536 * 64 },
  { name: "layerNorm 256×768", inputs: () => [normal(256, 768), normal(768), normal(768)], run: (x, w, b) => x!.layerNorm(w!, b!), bytes: 8 * 256 * 768 },
  { name: "rmsNorm 1×768", inputs: () => [normal(1, 768), normal(768)], run: (x, w) => x!.rmsNorm(w!) },
  { name: "sum axis 0 4096²", inputs: wide, run: (x) => x!.sum({ axis: 0 }), bytes: square },
  { name: "sum axis 1 4096²", inputs: wide, run: (x) => x!.sum({ axis: 1 }), bytes: square },
  { name: "sum all 4096²", inputs: wide, run: (x) => x!.sum(), bytes: square },
  { name: "max axis 0 4096²", inputs: wide, run: (x) => x!.amax({ axis: 0 }), bytes: square },
  { name: "max axis 1 4096²", inputs: wide, run: (x) => x!.amax({ axis: 1 }), bytes: square },
  { name: "sum axis 1 of 64×256×1024", inputs: () => [normal(64, 256, 1024)], run: (x) => x!.sum({ axis: 1 }), bytes: square },
  { name: "sum of x+yᵀ, axis 1 4096²", inputs: () => [normal(side, side), normal(side, side)], run: (x, y) => x!.mul(y!.T).sum({ axis: 1 }), bytes: 2 * square },
  { name: "transpose 4096²", inputs: wide, run: (x) => x!.T, bytes: 2 * square },
  { name: "x+yᵀ 4096²", inputs: () => [normal(side, side), normal(side, side)], run: (x, y) => x!.add(y!.T), bytes: 3 * square },
  { name: "transpose 64×512×512", inputs: () => [normal(64, 512, 512)], run: (x) => x!.transpose(1, 2), bytes: 2 * square },
  { name: "heads 8×512×12×64", inputs: () => [normal(8, 512, 12, 64)], run: (x) => x!.transpose(1, 2), bytes: 8 * 8 * 512 * 12 * 64 },
  { name: "transpose 100×300", inputs: () => [normal(100, 300)], run: (x) => x!.T, bytes: 8 * 30000 },
  { name: "embedding gradient 4096×512 → 32000", inputs: () => [normal(4096, 512), tensor(Int32Array.from({ length: 4096 }, (_, i) => (i * 7919) % 32000))],
    run: (x, i) => x!.scatterAdd(i!.reshape([4096, 1]).expand([4096, 512]), 0, 32000), bytes: 4 * 512 * (32000 + 3 * 4096) },
  attend("prefill 8 heads 512 × 64", [1, 8, 512, 64], [1, 8, 512, 64]),
  attend("prefill 8 heads 512 × 64 causal", [1, 8, 512, 64], [1, 8, 512, 64], { causal: true }),
  attend("prefill 12 heads 2048 × 64 causal", [1, 12, 2048, 64], [1, 12, 2048, 64], { causal: true }),
  attend("prefill 32/8 heads 512 × 128 causal", [1, 32, 512, 128], [1, 8, 512, 128], { causal: true }),
  attend("decode 12 heads 1024 × 64", [1, 12, 1, 64], [1, 12, 1024, 64]),
  attend("decode 32/8 heads 4096 × 64", [1, 32, 1, 64], [1, 8, 4096, 64]),
  attend("decode 12 heads 128 × 64", [1, 12, 1, 64], [1, 12, 128, 64]),
]

async function time({ name, inputs, run, bytes, flops }: Case, device: Device, threads: number): Promise<void> {
  await withDevice(device, async () => {
    const x = inputs()
    const compiled = compile<Tensor[], Tensor>(run)
    const samples: number[] = []
    const start = performance.now()
    for (let n = 0; n < 12 || (performance.now() - start < 1500 && n < 400); n++) {
      const from = performance.now()
      const y = await compiled(...x)
      if (n >= 5) samples.push(performance.now() - from)
      y.dispose()
    }
    for (const t of x) t.dispose()
    compiled.dispose()
    const least = Math.min(...samples)
    const rate = flops !== undefined && flops > (bytes ?? 0) * 4 ? `${(flops / least / 1e6).toFixed(1)} GF/s` : bytes !== undefined ? `${(bytes / least / 1e6).toFixed(1)} GB/s` : ""
    console.log(`${name.padEnd(38)} ${threads}  ${least.toFixed(3).padStart(9)} ms  median ${median(samples).toFixed(3).padStart(9)} ms  ${rate.padStart(11)}`)
  })
}

const [filter = "", only] = process.argv.slice(2)
for (const threads of only === undefined ? [1, 2] : [Number(only)]) {
  const device = await open("wasm", { threads })
  for (const c of cases.filter(({ name }) => name.includes(filter))) {
    try {
      await time(c, device, threads)
    } catch (error) {
      console.log(`${c.name.padEnd(38)} ${threads}  ${String(error).slice(0, 200)}`)
    }
  }
  await device.close()
}
