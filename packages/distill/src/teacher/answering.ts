import { fail, tensor } from "@thimble/core"
import type { Tokenizer } from "@thimble/formats"
import type { Answers } from "./teacher.ts"

/** The most probable classes of each position, best first: [sequence][position][rank]. */
export interface Answer {
  readonly indices: readonly (readonly (readonly number[])[])[]
  /** Logarithms of their probabilities among all classes. */
  readonly logProbabilities: readonly (readonly (readonly number[])[])[]
}
/** What a function is asked: sequences of ids, and how many classes of each position. */
export interface Question {
  readonly ids: readonly (readonly number[])[]
  readonly top: number
}
export interface AnsweringOptions {
  readonly classes: number
  readonly context?: number
  readonly tokenizer?: Tokenizer
  /** The most classes per position that can be asked for; all unless given. */
  readonly top?: number
}

/** A teacher that is a function of sequences: a service, another library. It shows the most probable classes. */
export function answering(ask: (question: Question) => Promise<Answer>, { classes, context, tokenizer, top: most = classes }: AnsweringOptions): Answers {
  return {
    offers: ["top"], dimensions: { classes, ...(context !== undefined && { context }) }, ...(tokenizer && { tokenizer }),
    prepare: async ({ ask: { top = 1 } }) => {
      if (top > most) fail("value", "answering", `the loss asks for ${top} classes per position, the teacher gives ${most}`, "topK() of fewer")
    },
    async answer({ inputs }, { top = 1 }) {
      const ids = (await inputs.tolist()) as number[][], [batch, length] = inputs.shape as [number, number]
      const found = await ask({ ids, top })
      const flat = (name: keyof Answer): number[] => {
        const rows = (found as Partial<Answer>)[name]
        if (!Array.isArray(rows) || rows.length !== batch || !rows.every((r) => Array.isArray(r) && r.length === length && r.every((p) => Array.isArray(p) && p.length >= top)))
          return fail("shape", "answering", `the teacher's ${name} must be [${batch}][${length}][${top}]`, "one row per position, best first")
        return (rows as number[][][]).flatMap((r) => r.flatMap((p) => p.slice(0, top)))
      }
      const indices = flat("indices"), logs = flat("logProbabilities")
      const strange = indices.find((i) => !(Number.isInteger(i) && i >= 0 && i < classes))
      if (strange !== undefined) fail("index", "answering", `the teacher named class ${strange} of ${classes}`)
      const wrong = logs.find((l) => !(l <= 1e-4))
      if (wrong !== undefined) fail("value", "answering", `the teacher gave ${wrong} as the logarithm of a probability`, "they are ≤ 0")
      return { top: { indices: tensor(Int32Array.from(indices), { shape: [batch, length, top] }), logProbabilities: tensor(Float32Array.from(logs), { shape: [batch, length, top] }) } }
    },
  }
}

export interface HttpTeacherOptions extends AnsweringOptions {
  readonly headers?: Readonly<Record<string, string>>
  /** What is sent for a question: `{ ids, top }` as JSON unless given. */
  readonly write?: (question: Question) => string
  /** Reads the answer's JSON: `{ indices, logProbabilities }` unless given. */
  readonly read?: (json: unknown, question: Question) => Answer
  /** Tries before an error is one, where the service is busy or not there (408, 429, 5xx, no connection); 3 unless given. */
  readonly tries?: number
  readonly signal?: AbortSignal
}

/** A teacher behind an address: each batch is one POST of JSON. */
export function httpTeacher(url: string | URL, { headers = {}, write = JSON.stringify, read = (json) => json as Answer, tries = 3, signal, ...options }: HttpTeacherOptions): Answers {
  return answering(async (question) => {
    let problem = ""
    for (let attempt = 0; attempt < tries; attempt++) {
      if (attempt > 0) await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** attempt))
      signal?.throwIfAborted()
      let reply: Response
      try {
        reply = await fetch(url, { method: "POST", body: write(question), headers: { "content-type": "application/json", ...headers }, ...(signal && { signal }) })
      } catch (e) {
        if (signal?.aborted) throw e
        problem = e instanceof Error ? e.message : String(e)
        continue
      }
      if (reply.ok) return read(await reply.json(), question)
      problem = `${reply.status} ${reply.statusText}: ${(await reply.text()).slice(0, 200)}`
      if (reply.status !== 408 && reply.status !== 429 && reply.status < 500) break
    }
    return fail("value", "httpTeacher", `${String(url)} did not answer: ${problem}`)
  }, options)
}
