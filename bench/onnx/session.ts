import type * as Onnx from "onnxruntime-node"
import { modelOf } from "./models.ts"
import type { Absent, Ready } from "../peer.ts"
import type { Work } from "../work.ts"

/** The two packages share this interface. */
type Runtime = Pick<typeof Onnx, "InferenceSession" | "Tensor">

interface SessionOptions {
  session: Onnx.InferenceSession.SessionOptions
  /** Write every result into the same tensor, where the runtime can: fresh pages for 64 MB cost more than most works. */
  reuseOutput: boolean
}

/** Readies a work in an onnxruntime session. */
export async function prepareSession(
  { InferenceSession, Tensor }: Runtime,
  work: Work,
  options: SessionOptions,
): Promise<Ready | Absent> {
  const model = modelOf(work)
  if (!model || model.half) return { absent: `has no ${work.op}` }
  const session = await InferenceSession.create(model.bytes, { graphOptimizationLevel: "all", ...options.session })
  const feeds = Object.fromEntries(
    Object.entries(model.feeds).map(([name, { data, dims }]) => [name, new Tensor("float32", data, dims)]),
  )
  const size = model.output.reduce((a, b) => a * b, 1)
  let y: Onnx.Tensor | undefined = options.reuseOutput
    ? new Tensor("float32", new Float32Array(size), model.output)
    : undefined
  return {
    async run() {
      const results = y && options.reuseOutput ? await session.run(feeds, { y }) : await session.run(feeds)
      y = results.y
    },
    async result() {
      const output = (await y!.getData()) as Float32Array
      return model.result?.(output) ?? output
    },
    close: () => session.release(),
  }
}
