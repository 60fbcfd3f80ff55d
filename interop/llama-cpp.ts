import { getLlama, LlamaLogLevel, type ControlledEvaluateInputItem, type Llama, type Token } from "node-llama-cpp"

/** What llama.cpp makes of a file. */
export interface LlamaCpp extends AsyncDisposable {
  tokens(text: string): number[]
  /** The most probable tokens after a prompt, and the probabilities [vocabulary] that each was chosen from. */
  continuation(prompt: readonly number[], count: number): Promise<{ readonly ids: number[]; readonly probabilities: Float64Array[] }>
}

let llama: Promise<Llama> | undefined
/** The prebuilt binary; nothing is downloaded or compiled. */
const opened = (): Promise<Llama> => (llama ??= getLlama({ gpu: false, build: "never", skipDownload: true, progressLogs: false, logLevel: LlamaLogLevel.error }))

/** Opens a GGUF file with llama.cpp. Keys and values are cached in F32, as they are here; F16, its default, is off by 1e-3. */
export async function openLlamaCpp(modelPath: string, { contextSize, vocabulary }: { readonly contextSize: number; readonly vocabulary: number }): Promise<LlamaCpp> {
  const model = await (await opened()).loadModel({ modelPath })
  return {
    tokens: (text) => model.tokenize(text) as number[],
    async continuation(prompt, count) {
      const context = await model.createContext({ contextSize, threads: 1, flashAttention: false, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32" })
      try {
        const sequence = context.getSequence(), ids: number[] = [], probabilities: Float64Array[] = []
        for (let next = prompt; ids.length < count; next = [ids.at(-1)!]) {
          const input = next.map((id, i): ControlledEvaluateInputItem =>
            i < next.length - 1 ? (id as Token) : [id as Token, { generateNext: { token: true, probabilities: true, options: { temperature: 0 } } }])
          const made = (await sequence.controlledEvaluate(input)).at(-1)!.next, row = new Float64Array(vocabulary)
          for (const [id, p] of made.probabilities!) row[id] = p
          probabilities.push(row)
          ids.push(made.token as number)
        }
        return { ids, probabilities }
      } finally {
        await context.dispose()
      }
    },
    [Symbol.asyncDispose]: () => model.dispose(),
  }
}
