import { getLlama, LlamaLogLevel, type Token } from "node-llama-cpp"
import { shape } from "./file.ts"
import { timed, type Engine } from "./runner.ts"

export async function open(threads: number): Promise<Engine> {
  const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, progressLogs: false, logLevel: LlamaLogLevel.error, maxThreads: threads })
  return {
    async load(modelPath) {
      const model = await llama.loadModel({ modelPath })
      const context = await model.createContext({ contextSize: shape.context, batchSize: 512, threads })
      const sequence = context.getSequence()
      return {
        async generate(prompt, tokens) {
          await sequence.clearHistory()
          return timed(sequence.evaluate(prompt as Token[], { temperature: 0, yieldEogToken: true }), tokens)
        },
      }
    },
  }
}
