// What a library does before a kernel runs: building a graph, scheduling it (a structure never seen before, and a known
// one), looking up its kernels, and replaying it once it is compiled. Matrices are small, so that little else is timed.
// node bench/graph.ts [filter]   e.g. "mixed". Medians in ms; "first" is the first schedule of the process's life.
import { compile, grad, tensor, useDevice, type Tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { programFor } from "../packages/core/src/cache.ts"
import { median } from "./measure.ts"

interface Graph {
  readonly name: string
  /** Operands of a graph `layers` deep; another width is another structure, and no kernel of one is a kernel of the other. */
  operands(layers: number, width: number): Tensor[]
  build(operands: readonly Tensor[]): Tensor[]
}

const rows = 4
const values = (...shape: number[]): Tensor =>
  tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i)), { shape })
const layersOf = <T>(layers: number, layer: (i: number) => T[]): T[] => Array.from({ length: layers }, (_, i) => layer(i)).flat()

/** Five calls a layer: matmul, add, gelu, mul, and a sum that the next layer's product reads. */
const mixed = ([first, ...parameters]: readonly Tensor[]): Tensor[] => {
  let x = first!
  for (let i = 0; i < parameters.length; i += 2) {
    const y = x.matmul(parameters[i]!).add(parameters[i + 1]!).gelu()
    x = y.mul(y.sum({ axis: -1, keepDims: true }))
  }
  return [x]
}
/** Three calls a layer — linear, relu, a product with the layer's own scale — and the gradient of everything. */
const network = ([first, ...parameters]: readonly Tensor[]): Tensor[] => {
  let x = first!
  for (let i = 0; i < parameters.length; i += 2) x = x.linear(parameters[i]!).relu().mul(parameters[i + 1]!)
  const loss = x.square().mean()
  return [loss, ...grad(loss, parameters)]
}

const graphs: Graph[] = [
  { name: "mixed", operands: (layers, width) => [values(rows, width), ...layersOf(layers, () => [values(width, width), values(width)])], build: mixed },
  // Every layer is one wider than the last: no two kernels are alike.
  { name: "tapered", operands: (layers, width) => [values(rows, width), ...layersOf(layers, (i) => [values(width + i, width + i + 1), values(width + i + 1)])], build: mixed },
  { name: "gradient", operands: (layers, width) => [values(rows, width), ...layersOf(layers, () => [values(width, width), values(width)])], build: network },
]
const sizes = [40, 100]

function nodesOf(outputs: readonly Tensor[]): number {
  const seen = new Set(outputs)
  for (const t of seen) for (const s of t.sources) seen.add(s)
  return seen.size
}

const device = useDevice(await open("wasm", { threads: 1 }))
const now = (): number => performance.now()
const row = (name: string, cells: readonly string[]): void => console.log(name.padEnd(24) + cells.map((c) => c.padStart(10)).join(""))
row("", ["nodes", "kernels", "first", "build", "new", "known", "look up", "replay"])

const [filter = ""] = process.argv.slice(2)
for (const { name, operands, build } of graphs.filter((g) => g.name.includes(filter)))
  for (const layers of sizes) {
    const times = { build: [] as number[], fresh: [] as number[], known: [] as number[], prepare: [] as number[], replay: [] as number[] }
    let first = NaN, nodes = 0, kernels = 0
    // Widths of 5 and more: none is `rows`, whose products would be other kernels.
    for (let round = 0; round < 40; round++) {
      const inputs = operands(layers, 5 + round)
      const built = now()
      const outputs = build(inputs)
      const scheduled = now()
      const { program } = programFor(outputs, device)
      const end = now()
      if (round === 0) first = end - scheduled
      if (round >= 20) {
        times.build.push(scheduled - built)
        times.fresh.push(end - scheduled)
      }
      nodes = nodesOf(outputs)
      kernels = program.steps.length
      for (const t of inputs) t.dispose()
    }
    const inputs = operands(layers, 5)
    for (let round = 0; round < 60; round++) {
      const outputs = build(inputs)
      const start = now()
      const { program } = programFor(outputs, device)
      const found = now()
      await device.prepare(program.steps.flatMap((s) => (s.kind === "kernel" ? [s.kernel] : [])))
      const prepared = now()
      if (round < 20) continue
      times.known.push(found - start)
      times.prepare.push(prepared - found)
    }
    const compiled = compile((x: Tensor[]) => build(x))
    for (let round = 0; round < 400; round++) {
      const start = now()
      const results = await compiled(inputs)
      if (round >= 200) times.replay.push(now() - start)
      for (const t of results) t.dispose()
    }
    const cells = [first, ...[times.build, times.fresh, times.known, times.prepare, times.replay].map(median)].map((t) => t.toFixed(3))
    row(`${name}, ${layers} layers`, [String(nodes), String(kernels), ...cells])
    for (const t of inputs) t.dispose()
    compiled.dispose()
  }
await device.close()
