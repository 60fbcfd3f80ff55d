import * as onnxruntime from "onnxruntime-node"
import { prepareSession } from "../onnx/session.ts"
import type { Peer } from "../peer.ts"

export const peer: Peer = {
  name: "onnxruntime-node",
  prepare: (work, threads) =>
    prepareSession(onnxruntime, work, {
      session: {
        executionProviders: ["cpu"],
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        executionMode: "sequential",
      },
      reuseOutput: true,
    }),
}
