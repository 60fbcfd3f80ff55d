import { Graph } from "./graph.ts"
import { exchanged } from "../layout.ts"
import type { Op, TransformerDims, Work, WorkOf } from "../work.ts"

/** A model of one output, `y`, with what to feed it. Weights are constants of the model, data are inputs. */
export interface Model {
  bytes: Uint8Array
  feeds: Record<string, { data: Float32Array; dims: readonly number[] }>
  output: readonly number[]
  /** Feeds and output are 16-bit floats. */
  half: boolean
  /** Where the output lies otherwise than the work says: what the work says. */
  result?(output: Float32Array): Float32Array
}

const microsoft = "com.microsoft"

type Builders = { readonly [O in Op]?: (work: WorkOf<O>) => Model }

const builders: Builders = {
  matmul({ dims: { m, k, n, half }, inputs }) {
    const { a, b } = inputs()
    const body = (graph: Graph): string => graph.node("MatMul", ["a", "b"], {}, y)
    return model({ a: { data: a, dims: [m, k] }, b: { data: b, dims: [k, n] } }, [m, n], body, half)
  },
  attention({ dims: { heads, size, queries, keys, half }, inputs }) {
    const data = inputs()
    const feed = (x: Float32Array, tokens: number): Model["feeds"][string] => ({ data: exchanged(x, heads, tokens, size), dims: [1, tokens, heads * size] })
    const feeds = { q: feed(data.q, queries), k: feed(data.k, keys), v: feed(data.v, keys) }
    const attributes = { num_heads: heads, unidirectional: queries > 1 ? 1 : 0 }
    const body = (graph: Graph): string => graph.node("MultiHeadAttention", ["q", "k", "v"], attributes, { domain: microsoft, ...y })
    return { ...model(feeds, [1, queries, heads * size], body, half), result: (output) => exchanged(output, queries, heads, size) }
  },
  matvec({ dims: { rows, columns }, inputs }) {
    const { x, w } = inputs()
    return model({ x: { data: x, dims: [1, columns] } }, [1, rows], (graph) =>
      graph.node("Gemm", ["x", graph.constant(w, [rows, columns])], { transB: 1 }, y),
    )
  },
  q4({ dims: { rows, columns, group }, inputs }) {
    const { x, codes, scales } = inputs()
    const packed = Uint8Array.from({ length: codes.length / 2 }, (_, i) => codes[2 * i] | (codes[2 * i + 1] << 4))
    return model({ x: { data: x, dims: [1, columns] } }, [1, rows], (graph) =>
      graph.node(
        "MatMulNBits",
        [
          "x",
          graph.constant(packed, [rows, columns / group, group / 2]),
          graph.constant(scales, [rows * (columns / group)]),
        ],
        { K: columns, N: rows, bits: 4, block_size: group, accuracy_level: 4 },
        { domain: microsoft, ...y },
      ),
    )
  },
  gelu({ dims: { size, scale, shift }, inputs }) {
    return model({ x: { data: inputs().x, dims: [size] } }, [size], (graph) => {
      const scaled = graph.node("Mul", ["x", graph.scalar(scale)])
      const shifted = graph.node("Add", [scaled, graph.scalar(shift)])
      graph.node("Gelu", [shifted], { approximate: "tanh" }, y)
    })
  },
  exp: ({ dims: { size }, inputs }) =>
    model({ x: { data: inputs().x, dims: [size] } }, [size], (graph) => graph.node("Exp", ["x"], {}, y)),
  softmax: ({ dims: { rows, columns }, inputs }) =>
    model({ x: { data: inputs().x, dims: [rows, columns] } }, [rows, columns], (graph) =>
      graph.node("Softmax", ["x"], { axis: -1 }, y),
    ),
  layerNorm({ dims: { rows, columns, epsilon }, inputs }) {
    const { x, scale, shift } = inputs()
    return model({ x: { data: x, dims: [rows, columns] } }, [rows, columns], (graph) =>
      graph.node(
        "LayerNormalization",
        ["x", graph.constant(scale), graph.constant(shift)],
        { axis: -1, epsilon: { float: epsilon } },
        y,
      ),
    )
  },
  rmsNorm({ dims: { rows, columns, epsilon }, inputs }) {
    const { x, scale } = inputs()
    return model({ x: { data: x, dims: [rows, columns] } }, [rows, columns], (graph) =>
      graph.node("SimplifiedLayerNormalization", ["x", graph.constant(scale)], { axis: -1, epsilon: { float: epsilon } }, y),
    )
  },
  sum({ dims: { rows, columns, axis }, inputs }) {
    return model({ x: { data: inputs().x, dims: [rows, columns] } }, [axis === 0 ? columns : rows], (graph) =>
      graph.node("ReduceSum", ["x", graph.integers(axis)], { keepdims: 0 }, y),
    )
  },
  transpose: ({ dims: { rows, columns }, inputs }) =>
    model({ x: { data: inputs().x, dims: [rows, columns] } }, [columns, rows], (graph) =>
      graph.node("Transpose", ["x"], { perm: [1, 0] }, y),
    ),
  transformer({ dims, inputs }) {
    const { x, layers } = inputs()
    const { tokens, width, hidden, epsilon } = dims
    const shape = [1, tokens, width]
    return model({ x: { data: x, dims: shape } }, shape, (graph) => {
      const norm = (state: string, scale: Float32Array, shift: Float32Array): string =>
        graph.node("LayerNormalization", [state, graph.constant(scale), graph.constant(shift)], {
          axis: -1,
          epsilon: { float: epsilon },
        })
      let state = "x"
      layers.forEach((layer, index) => {
        const qkv = graph.node("MatMul", [
          norm(state, layer.norm1Scale, layer.norm1Shift),
          graph.constant(layer.qkv, [width, 3 * width]),
        ])
        const mixed = graph.node("MatMul", [attention(graph, qkv, dims), graph.constant(layer.out, [width, width])])
        state = graph.node("Add", [state, mixed])
        const up = graph.node("MatMul", [
          norm(state, layer.norm2Scale, layer.norm2Shift),
          graph.constant(layer.up, [width, hidden]),
        ])
        const active = graph.node("Gelu", [graph.node("Add", [up, graph.constant(layer.upBias)])], { approximate: "tanh" })
        const down = graph.node("MatMul", [active, graph.constant(layer.down, [hidden, width])])
        const last = index === layers.length - 1
        state = graph.node("Add", [state, graph.node("Add", [down, graph.constant(layer.downBias)])], {}, last ? y : {})
      })
    })
  },
}

/** The model of a work, or undefined where ONNX has no operator for it. */
export function modelOf(work: Work): Model | undefined {
  const build = builders[work.op] as ((work: Work) => Model) | undefined
  return build?.(work)
}

const y = { output: "y" }

function model(feeds: Model["feeds"], output: readonly number[], body: (graph: Graph) => void, half = false): Model {
  const graph = new Graph()
  for (const [name, { dims }] of Object.entries(feeds)) graph.input(name, dims, half)
  body(graph)
  graph.output("y", output, half)
  return { bytes: graph.bytes(20), feeds, output, half }
}

/** onnxruntime's own fused operator; the same attention in plain nodes takes equally long. */
function attention(graph: Graph, qkv: string, { heads, width }: TransformerDims): string {
  const [queries, keys, values] = graph.nodes("Split", [qkv, graph.integers(width, width, width)], { axis: -1 }, 3)
  return graph.node(
    "MultiHeadAttention",
    [queries, keys, values],
    { num_heads: heads, unidirectional: 1 },
    { domain: microsoft },
  )
}
