// One participant in a process of its own: a library that crashes or never ends costs a row, and no more.
import { fork, type ChildProcess } from "node:child_process"
import { sample, type Sample } from "../../check.ts"
import type { Absent } from "../../peer.ts"
import { timedUntil } from "../time.ts"
import { actAsBrowser } from "./browser.ts"
import { participants } from "./participants.ts"
import { gpuWorks } from "./works.ts"

interface Ask { readonly work: number; readonly tiny: boolean; readonly at: Uint32Array }
/** What was computed, for the parent to judge, and how long one run takes. */
export interface Timed { readonly result: Sample; readonly ms: number; readonly prepareMs: number }
type Answer = Timed | Absent

const prefix = "peer-"

/** The participant that this process is to be, when it was started to be one. */
export const participantOf = (part: string): string | undefined => (part.startsWith(prefix) ? part.slice(prefix.length) : undefined)

/** Does what the parent asks, until the parent is gone. */
export async function serve(name: string): Promise<never> {
  const watched = await actAsBrowser()
  const opened = participants[name]!().catch((e: Error) => ({ absent: `cannot be opened: ${firstLine(e)}` }))
  const answer = async ({ work: index, tiny, at }: Ask): Promise<Answer> => {
    const start = performance.now(), prepare = await opened
    if ("absent" in prepare) return prepare
    const work = gpuWorks(tiny)[index]!
    watched.complaints()
    const ready = await prepare(work)
    if ("absent" in ready) return ready
    const wait = async (): Promise<void> => {
      await ready.wait?.()
      await watched.wait()
    }
    for (let i = 0; i < work.runs; i++) await ready.run()
    await wait()
    const result = sample(await ready.result(), at), prepareMs = performance.now() - start
    const ms = await timedUntil(wait, () => ready.run(), { tiny })
    const complaints = watched.complaints()
    await ready.close()
    return complaints.length > 0 ? { absent: `WebGPU: ${complaints[0]!.slice(0, 300)}` } : { result, ms, prepareMs }
  }
  process.on("message", (ask: Ask) => {
    void answer(ask).catch((e: Error) => ({ absent: [firstLine(e), ...watched.complaints().slice(0, 1)].join("; ") })).then((told) => process.send!(told))
  })
  process.on("disconnect", () => process.exit())
  return new Promise(() => {})
}

const firstLine = (e: Error): string => String(e?.message ?? e).split("\n", 1)[0]!.slice(0, 300)

/** The process of a participant, started when it is first asked, and again after it died. */
export class Participant {
  readonly name: string
  #child: ChildProcess | undefined
  #deaths = 0

  constructor(name: string) {
    this.name = name
  }

  /** What it says to a work within `ms` milliseconds. */
  async ask(ask: Ask, ms: number): Promise<Answer> {
    if (this.#deaths > 3) return { absent: "died four times" }
    const child = (this.#child ??= this.#start())
    const { promise, resolve } = Promise.withResolvers<Answer>()
    const onExit = (code: number | null, signal: string | null): void => resolve({ absent: `its process ended (${signal ?? code}) ${this.#complaint}`.trim() })
    child.once("message", resolve)
    child.once("exit", onExit)
    const patience = setTimeout(() => resolve({ absent: `took more than ${(ms / 1e3).toFixed(0)} s` }), ms)
    child.send(ask)
    const told = await promise
    clearTimeout(patience)
    child.off("message", resolve)
    child.off("exit", onExit)
    if ("absent" in told && (child.exitCode !== null || child.signalCode !== null || told.absent.startsWith("took more"))) {
      this.#deaths++
      this.close()
    }
    return told
  }

  close(): void {
    this.#child?.kill("SIGKILL")
    this.#child = undefined
  }

  #complaint = ""

  #start(): ChildProcess {
    const child = fork(process.argv[1]!, { env: { ...process.env, PARTS: prefix + this.name }, serialization: "advanced", stdio: ["ignore", "ignore", "pipe", "ipc"] })
    this.#complaint = ""
    child.stderr!.on("data", (text: Buffer) => (this.#complaint = (this.#complaint + String(text)).slice(-300)))
    child.on("error", () => {})
    return child
  }
}
