// The least that runs a template on two threads: one shared memory, a barrier after each phase. Threads claim chunks of
// units as they go: on a busy machine one of them may come late or be interrupted, and then the other does the work.
import { Worker, isMainThread, workerData } from "node:worker_threads"
import type { Template } from "../../packages/kernels/src/template/holes.ts"

/** Words at the start of the memory, left free by whoever lays out the arrays. */
export const reservedBytes = 1024
/** `ticket` is the number of the phase run, times `chunksMaximum`, plus the next chunk to do. */
const word = { ticket: 0, done: 1, phase: 2, chunk: 3, units: 4, scratch: 5, threadScratch: 6 } as const
const chunksMaximum = 64
/** A few dozen microseconds. */
const spinsMaximum = 2000

interface Shared {
  readonly module: WebAssembly.Module
  readonly memory: WebAssembly.Memory
}
type Phases = Record<string, (scratch: number, threadScratch: number, begin: number, end: number) => void>

const instantiate = ({ module, memory }: Shared) => new WebAssembly.Instance(module, { env: { memory } }).exports as Phases

/** Claims and does chunks of the phase run with this number until there are none. */
function work(control: Int32Array, phases: Phases, round: number, thread: number): void {
  for (;;) {
    const ticket = Atomics.load(control, word.ticket)
    const [units, chunk] = [control[word.units], control[word.chunk]]
    const begin = (ticket % chunksMaximum) * chunk
    if (Math.floor(ticket / chunksMaximum) !== round || begin >= units) return
    const [phase, scratch, threadScratch] = [control[word.phase], control[word.scratch], control[word.threadScratch + thread]]
    if (Atomics.compareExchange(control, word.ticket, ticket, ticket + 1) !== ticket) continue
    const end = Math.min(begin + chunk, units)
    phases[`phase${phase}`](scratch, threadScratch, begin, end)
    if (Atomics.add(control, word.done, end - begin) + end - begin === units) Atomics.notify(control, word.done)
  }
}

/** `run` does all phases and returns when they are done. */
export function team(shared: Shared, template: Template, scratch: number, threads: 1 | 2): { run(): void; close(): Promise<unknown> } {
  const control = new Int32Array(shared.memory.buffer, 0, 16)
  const phases = instantiate(shared)
  const threadScratch = scratch + Math.ceil(template.scratchBytes / 64) * 64
  const worker = threads === 2 ? new Worker(new URL(import.meta.url), { workerData: shared }) : undefined
  let round = 0
  return {
    run() {
      template.phases.forEach(({ units }, phase) => {
        if (worker === undefined) return phases[`phase${phase}`](scratch, threadScratch, 0, units)
        const chunk = Math.max(1, Math.ceil(units / (chunksMaximum - 1)))
        control.set([0, phase, chunk, units, scratch, threadScratch, threadScratch + template.threadScratchBytes], word.done)
        round++
        Atomics.store(control, word.ticket, round * chunksMaximum)
        Atomics.notify(control, word.ticket)
        work(control, phases, round, 0)
        for (let spins = spinsMaximum; ; spins--) {
          const done = Atomics.load(control, word.done)
          if (done === units) break
          // The other thread may be waiting for this very core.
          if (spins < 0) Atomics.wait(control, word.done, done)
        }
      })
    },
    close: async () => worker?.terminate(),
  }
}

/** Memory that both threads of a team need behind the arrays. */
export const scratchBytes = (template: Template) => Math.ceil(template.scratchBytes / 64) * 64 + 2 * template.threadScratchBytes

function serve(shared: Shared): void {
  const control = new Int32Array(shared.memory.buffer, 0, 16)
  const phases = instantiate(shared)
  for (let round = 0; ; ) {
    let spins = spinsMaximum
    for (;;) {
      const ticket = Atomics.load(control, word.ticket)
      const now = Math.floor(ticket / chunksMaximum)
      if (now !== round) {
        round = now
        break
      }
      if (--spins < 0) Atomics.wait(control, word.ticket, ticket)
    }
    work(control, phases, round, 1)
  }
}

if (!isMainThread && workerData) serve(workerData as Shared)
