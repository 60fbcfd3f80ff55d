// What a library does before a kernel runs: building a graph, scheduling it (a structure never seen before, and a known
// one), looking up its kernels, and replaying it once it is compiled. Matrices are small, so that little else is timed.
// node bench/graph.ts [filter]   e.g. "mixed". Medians in ms; the first line is of the process's first graph, cold.
import { compile, grad, tensor, useDevice, type Tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { programFor } from "../packages/core/src/cache.ts"
import { median } from "./measure.ts"

interface Graph {
  readonly name: string
  /** Sizes of the layers' matrices: [in, out] of the layer, by its number. */
  matrix(i: number): readonly [number, number]
  /** The results for an input [rows, in of the first layer], from a matrix and a vector per layer. */
  build(input: Tensor, parameters: readonly Tensor[]): Tensor[]
}

const width = 8
const values = (...shape: number[]): Tensor =>
  tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i)), { shape })
const parametersOf = ({ matrix }: Graph, layers: number): Tensor[] =>
  Array.from({ length: layers }, (_, i) => [values(...matrix(i)), values(matrix(i)[1])]).flat()

/** Five calls a layer: matmul, add, gelu, mul, and a sum that the next layer's product reads. */
const mixed: Graph["build"] = (input, parameters) => {
  let x = input
  for (let i = 0; i < parameters.length; i += 2) {
    const y = x.matmul(parameters[i]!).add(parameters[i + 1]!).gelu()
    x = y.mul(y.sum({ axis: -1, keepDims: true }))
  }
  return [x]
}
/** Three calls a layer — linear, relu, a product with the layer's own scale — and the gradient of everything. */
const network: Graph["build"] = (input, parameters) => {
  let x = input
  for (let i = 0; i < parameters.length; i += 2) x = x.linear(parameters[i]!).relu().mul(parameters[i + 1]!)
  const loss = x.square().mean()
  return [loss, ...grad(loss, parameters)]
}

const graphs: Graph[] = [
  { name: "mixed", matrix: () => [width, width], build: mixed },
  // Every layer is one wider than the last: no two kernels are alike.
  { name: "tapered", matrix: (i) => [width + i, width + i + 1], build: mixed },
  { name: "gradient", matrix: () => [width, width], build: network },
]
const sizes = [20, 40, 100]

function nodesOf(outputs: readonly Tensor[]): number {
  const seen = new Set(outputs)
  for (const t of seen) for (const s of t.sources) seen.add(s)
  return seen.size
}

const device = useDevice(await open("wasm", { threads: 1 }))
const now = (): number => performance.now()
const row = (name: string, cells: readonly (string | number)[]): void =>
  console.log(name.padEnd(24) + cells.map((c) => (typeof c === "string" ? c : c.toFixed(3)).padStart(10)).join(""))

interface Times { readonly build: number; readonly schedule: number; readonly nodes: number; readonly kernels: number }
let rows = 1
/** Builds and schedules a graph with another number of rows than any before: all its kernels are new. */
function fresh({ build }: Graph, parameters: readonly Tensor[]): Times {
  const input = values(++rows, width)
  const start = now()
  const outputs = build(input, parameters)
  const built = now()
  const { program } = programFor(outputs, device)
  const scheduled = now()
  input.dispose()
  return { build: built - start, schedule: scheduled - built, nodes: nodesOf(outputs), kernels: program.steps.length }
}

async function known({ build }: Graph, parameters: readonly Tensor[]): Promise<readonly [schedule: number, lookUp: number, replay: number]> {
  const input = values(4, width)
  const found: number[] = [], prepared: number[] = [], replayed: number[] = []
  for (let round = 0; round < 60; round++) {
    const outputs = build(input, parameters)
    const start = now()
    const { program } = programFor(outputs, device)
    found.push(now() - start)
    const from = now()
    await device.prepare(program.steps.flatMap((s) => (s.kind === "kernel" ? [s.kernel] : [])))
    prepared.push(now() - from)
  }
  const compiled = compile(build)
  for (let round = 0; round < 2000; round++) {
    const start = now()
    const results = await compiled(input, parameters)
    replayed.push(now() - start)
    for (const t of results) t.dispose()
  }
  input.dispose()
  compiled.dispose()
  // The first halves warm up.
  return [found, prepared, replayed].map((times) => median(times.slice(times.length / 2))) as [number, number, number]
}

const [filter = ""] = process.argv.slice(2)
row("", ["nodes", "kernels", "build", "new", "known", "look up", "replay"])
const cold = fresh(graphs[0]!, parametersOf(graphs[0]!, 40))
row("the first, 40 layers", [String(cold.nodes), String(cold.kernels), cold.build, cold.schedule])
for (const graph of graphs) {
  const parameters = parametersOf(graph, 40)
  for (let round = 0; round < 50; round++) fresh(graph, parameters)
}
for (const graph of graphs.filter((g) => g.name.includes(filter)))
  for (const layers of sizes) {
    const parameters = parametersOf(graph, layers)
    const times = Array.from({ length: 40 }, () => fresh(graph, parameters))
    const { nodes, kernels } = times[0]!
    row(`${graph.name}, ${layers} layers`, [String(nodes), String(kernels), median(times.map((t) => t.build)), median(times.map((t) => t.schedule)), ...(await known(graph, parameters))])
  }
await device.close()
