// The matmul templates alone, without the device around them, beside onnxruntime-node: what its machine code reaches.
// node bench/kernels/matmul.ts [filter]   e.g. "1024"; THIMBLE_NARROW=1 leaves the revectorizer off.
import v8 from "node:v8"
import * as onnxruntime from "onnxruntime-node"
import { operand, phaseModule, result } from "../../packages/kernels/test/strided.ts"
import { matmul } from "../../packages/kernels/src/template/matmul.ts"
import type { Push } from "../../packages/kernels/src/template/holes.ts"
import { Graph } from "../onnx/graph.ts"
import { measure } from "../measure.ts"
import type { Contestant } from "../measure.ts"
import { reservedBytes, scratchBytes, team } from "./team.ts"

const wide = process.env.THIMBLE_NARROW !== "1"
if (wide) v8.setFlagsFromString("--experimental-wasm-revectorize")

interface Shape {
  readonly m: number
  readonly k: number
  readonly n: number
  readonly batch?: number
  /** b is stored as [n, k], the way weights are. */
  readonly transposed?: boolean
}

const shapes: Shape[] = [
  { m: 16, k: 2048, n: 2048 }, { m: 16, k: 2048, n: 2048, transposed: true }, { m: 64, k: 2048, n: 2048 }, { m: 64, k: 2048, n: 2048, transposed: true }, { m: 256, k: 512, n: 512 }, { m: 256, k: 512, n: 2048 }, { m: 256, k: 2048, n: 512 }, { m: 128, k: 128, n: 128 }, { m: 512, k: 512, n: 512 }, { m: 1024, k: 1024, n: 1024 }, { m: 2048, k: 2048, n: 2048 },
  { m: 1024, k: 1024, n: 1024, transposed: true }, { m: 256, k: 512, n: 2048, transposed: true },
  { m: 8, k: 2048, n: 2048, transposed: true }, { m: 16, k: 4096, n: 4096, transposed: true }, { m: 128, k: 784, n: 10 },
  { m: 1, k: 1024, n: 16384, transposed: true }, { m: 1, k: 2048, n: 8192, transposed: true }, { m: 1, k: 8192, n: 2048, transposed: true }, { m: 1, k: 4096, n: 4096 }, { m: 1, k: 4096, n: 4096, transposed: true }, { m: 4, k: 4096, n: 4096, transposed: true },
  { m: 4, k: 4096, n: 4096 }, { m: 1, k: 512, n: 512, transposed: true }, { m: 4096, k: 4096, n: 1 },
  { batch: 8, m: 256, k: 64, n: 256, transposed: true }, { batch: 8, m: 256, k: 256, n: 64 },
]

const name = ({ batch = 1, m, k, n, transposed = false }: Shape) => `${batch > 1 ? `${batch} × ` : ""}${m} × ${k} × ${n}${transposed ? " ᵀ" : ""}`
const random = (count: number) => Float32Array.from({ length: count }, () => Math.random() - 0.5)

function ours({ batch = 1, m, k, n, transposed = false }: Shape, a: Float32Array, b: Float32Array, threads: 1 | 2): Contestant & { close(): Promise<unknown> } {
  const align = (x: number) => Math.ceil(x / 64) * 64
  const at = { a: reservedBytes, b: 0, c: 0, scratch: 0 }
  at.b = align(at.a + a.byteLength)
  at.c = align(at.b + b.byteLength)
  at.scratch = align(at.c + 4 * batch * m * n)
  const build = (pages: number) => phaseModule(pages, (scratch: Push, threadScratch: Push) => matmul({ batch, m, k, n }, {
    a: operand({ address: at.a, strides: [m * k, k, 1] }),
    b: operand({ address: at.b, strides: transposed ? [k * n, 1, k] : [k * n, n, 1] }),
    result: result({ address: at.c, strides: [m * n, n, 1] }),
    scratch,
    threadScratch,
  }, { relaxed: true, wide }))
  const pages = Math.ceil((at.scratch + scratchBytes(build(1).template)) / 65536)
  const { bytes, template } = build(pages)
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true })
  new Float32Array(memory.buffer, at.a, a.length).set(a)
  new Float32Array(memory.buffer, at.b, b.length).set(b)
  const { run, close } = team({ module: new WebAssembly.Module(bytes), memory }, template, at.scratch, threads)
  return { name: "thimble", close, time: async (runs) => timed(runs, run) }
}

async function theirs({ batch = 1, m, k, n, transposed = false }: Shape, a: Float32Array, b: Float32Array, threads: number): Promise<Contestant & { close(): Promise<unknown> }> {
  const graph = new Graph()
  graph.input("a", batch > 1 ? [batch, m, k] : [m, k])
  // Weights are constants, which onnxruntime packs beforehand; a batched b is data.
  const bDims = [...(batch > 1 ? [batch] : []), ...(transposed ? [n, k] : [k, n])]
  const right = batch > 1 ? graph.input("b", bDims) : graph.constant(b, bDims)
  if (transposed && batch === 1) graph.node("Gemm", ["a", right], { transB: 1 }, { output: "y" })
  else if (transposed) graph.node("FusedMatMul", ["a", right], { transB: 1 }, { output: "y", domain: "com.microsoft" })
  else graph.node("MatMul", ["a", right], {}, { output: "y" })
  const yDims = batch > 1 ? [batch, m, n] : [m, n]
  graph.output("y", yDims)
  const session = await onnxruntime.InferenceSession.create(graph.bytes(20), { intraOpNumThreads: threads, interOpNumThreads: 1 })
  const feeds = { a: new onnxruntime.Tensor("float32", a, batch > 1 ? [batch, m, k] : [m, k]), ...(batch > 1 && { b: new onnxruntime.Tensor("float32", b, bDims) }) }
  const y = new onnxruntime.Tensor("float32", new Float32Array(batch * m * n), yDims)
  return {
    name: "onnxruntime",
    close: () => session.release(),
    async time(runs) {
      const start = performance.now()
      for (let i = 0; i < runs; i++) await session.run(feeds, { y })
      return performance.now() - start
    },
  }
}

function timed(runs: number, run: () => void): number {
  const start = performance.now()
  for (let i = 0; i < runs; i++) run()
  return performance.now() - start
}

console.log("shape (m × k × n)          threads   thimble            onnxruntime-node     ratio")
for (const shape of shapes.filter((s) => name(s).includes(process.argv[2] ?? ""))) {
  const { batch = 1, m, k, n } = shape
  const [a, b] = [random(batch * m * k), random(batch * k * n)]
  for (const threads of [1, 2] as const) {
    const contestants = [ours(shape, a, b, threads), await theirs(shape, a, b, threads)]
    const options = { repeats: 9, sampleMs: 40, warmUpMs: 150, restMs: 15, failed: (who: string, why: string) => console.error(who, why) }
    const ms = await measure(contestants, options)
    await Promise.all(contestants.map((c) => c.close()))
    const show = (t: number) => `${t.toFixed(3).padStart(8)} ms ${(Math.min(m, n) <= 4 ? `${((4 * batch * (m * k + k * n)) / t / 1e6).toFixed(1)} GB/s` : `${((2 * batch * m * k * n) / t / 1e6).toFixed(1)} GF/s`).padStart(10)}`
    const [mine, other] = contestants.map((c) => ms.get(c.name) ?? NaN)
    console.log(`${name(shape).padEnd(26)} ${threads}   ${show(mine)}  ${show(other)}   ${(other / mine).toFixed(2)}`)
  }
}
