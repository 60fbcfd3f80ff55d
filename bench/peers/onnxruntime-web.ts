import * as onnxruntime from "onnxruntime-web"
import { prepareSession } from "../onnx/session.ts"
import type { Peer } from "../peer.ts"

/** Its API copies inputs into and results out of its WASM memory on every run; that is part of what a run costs its users. */
export const peer: Peer = {
  name: "onnxruntime-web",
  prepare(work, threads) {
    onnxruntime.env.wasm.numThreads = threads
    return prepareSession(onnxruntime, work, { session: { executionProviders: ["wasm"] }, reuseOutput: false })
  },
}
