// Runs one participant in a process of its own, so that V8 flags, thread pools and heaps stay apart.
import { sample } from "./check.ts"
import type { Ask, Answer } from "./contestant.ts"
import type { Peer, Ready } from "./peer.ts"
import { works } from "./works.ts"

const [module, workName, threads] = process.argv.slice(2)
let ready: Ready | undefined

const answers: { [A in Ask as A["ask"]]: (ask: A) => Promise<Answer> } = {
  async prepare({ runs, at }) {
    const work = works.find(({ name }) => name === workName)
    if (!work) throw new Error(`no work is called ${workName}`)
    const { peer } = (await import(module)) as { peer: Peer }
    const prepared = await peer.prepare(work, Number(threads))
    if ("absent" in prepared) return prepared
    ready = prepared
    for (let i = 0; i < runs; i++) await ready.run()
    return sample(await ready.result(), at)
  },
  async time({ runs }) {
    const start = performance.now()
    for (let i = 0; i < runs; i++) await ready!.run()
    return performance.now() - start
  },
  async close() {
    await ready?.close()
    return 0
  },
}

process.on("message", async (ask: Ask) => {
  const answer = await (answers[ask.ask] as (ask: Ask) => Promise<Answer>)(ask).catch((error: Error) => ({
    absent: firstLine(error),
  }))
  process.send!(answer)
})
process.on("disconnect", () => process.exit())
process.on("SIGINT", () => {}) // the parent decides what an interrupt ends

const firstLine = (error: Error): string => String(error?.message ?? error).split("\n", 1)[0]
