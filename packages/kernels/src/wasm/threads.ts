// Worker threads over the shared memory. A worker sleeps on the control block's command word; new modules reach it as
// messages, for which it goes back to its event loop.
import { erfOfNumber as erf, ThimbleError } from "@thimble/core"
import { inNode, nodeModule } from "./node.ts"
import { control } from "./runner.ts"

/** What every instance imports besides memory and table. */
export const hostImports: Record<string, (a: number, b: number) => number> = {
  exp: Math.exp, log: Math.log, sin: Math.sin, cos: Math.cos, atan: Math.atan, tanh: Math.tanh, pow: (a, b) => (a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : Math.pow(a, b)),
  rem: (a, b) => a % b, erf,
}

/** Self-contained source of a worker. */
const workerSource = (spins: number): string => `
const host = { exp: Math.exp, log: Math.log, sin: Math.sin, cos: Math.cos, atan: Math.atan, tanh: Math.tanh,
  pow: (a, b) => (a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : Math.pow(a, b)), rem: (a, b) => a % b, erf: ${erf.toString()} }
let memory, table, run, thread, threads, words, port, seen = 0, runs = 0, mails = 0
const workAt = ${control.work / 4}, runsAt = ${control.runs / 4}, mailsAt = ${control.mails / 4}
const receive = async (message) => {
  if (message.memory) {
    ({ memory, thread, threads } = message)
    words = new Int32Array(memory.buffer)
    table = new WebAssembly.Table({ element: "anyfunc", initial: 64 })
    run = new WebAssembly.Instance(message.runner, { env: { memory, table } }).exports.run
  }
  for (const { module, at, count } of message.modules ?? []) {
    if (table.length < at + count) table.grow(Math.max(at + count - table.length, table.length))
    const { exports } = new WebAssembly.Instance(module, { env: { memory }, host })
    for (let i = 0; i < count; i++) table.set(at + i, exports["p" + i])
  }
  port.postMessage({ done: message.id })
  serve()
}
const serve = () => {
  for (;;) {
    let now, tries = 0
    while ((now = Atomics.load(words, workAt)) === seen) {
      if (++tries > ${spins}) Atomics.wait(words, workAt, seen)
    }
    seen = now
    if (runs !== (runs = Atomics.load(words, runsAt)))
      run(words[${control.list / 4}], words[${control.count / 4}], thread, threads, 1, words[${control.stride / 4}])
    if (mails !== (mails = Atomics.load(words, mailsAt))) return
  }
}
${inNode ? listenInNode : listenInBrowser}
`
/** Neither `require` nor \`import … from\`: with --input-type=module the source is a module, otherwise a script. */
const listenInNode = `import("node:worker_threads").then(({ parentPort }) => {
  port = parentPort
  port.on("message", receive)
})`
const listenInBrowser = `port = self
self.onmessage = (event) => receive(event.data)`

export interface NewModule { readonly module: WebAssembly.Module; readonly at: number; readonly count: number }

interface Port {
  post(message: unknown): void
  listen(fn: (message: { done: number }) => void, failed: (error: Error) => void): void
  /** Whether the process must stay alive for an answer; a sleeping thread does not hold it. */
  hold(waiting: boolean): void
  stop(): Promise<void>
}

/** Threads 1 … count; thread 0 is the caller. */
export class Threads {
  readonly count: number
  private readonly ports: Port[] = []
  private readonly words: Int32Array
  private nextId = 1
  /** Why the threads can no longer be used. */
  private failure: Error | undefined
  private installed: Promise<void> = Promise.resolve()
  private readonly waiting = new Map<number, { left: number; resolve: () => void; reject: (e: Error) => void }>()

  private constructor(memory: WebAssembly.Memory, ports: Port[]) {
    this.words = new Int32Array(memory.buffer)
    this.ports = ports
    this.count = ports.length
    for (const p of ports)
      p.listen(({ done }) => {
        const w = this.waiting.get(done)
        if (w && --w.left === 0) {
          this.settle(done)
          w.resolve()
        }
      }, (error) => this.giveUp(error))
  }

  static async start(count: number, memory: WebAssembly.Memory, runner: WebAssembly.Module): Promise<Threads> {
    const ports = await Promise.all(Array.from({ length: count }, () => openPort(workerSource(2000))))
    const threads = new Threads(memory, ports)
    try {
      await threads.broadcast((i) => ({ memory, runner, thread: i + 1, threads: count + 1 }))
      return threads
    } catch (error) {
      await threads.stop()
      throw error
    }
  }

  /** Whether the caller may sleep until the threads are done. A page's main thread may not: it looks again and again. */
  get mayWait(): boolean {
    try {
      Atomics.wait(this.words, control.work / 4, this.words[control.work / 4]! + 1)
      return true
    } catch {
      return false
    }
  }

  private settle(id: number): void {
    this.waiting.delete(id)
    if (this.waiting.size === 0) for (const p of this.ports) p.hold(false)
  }

  /** Nobody will answer any more. */
  private giveUp(reason: Error): void {
    this.failure ??= reason
    for (const [id, w] of [...this.waiting]) {
      this.settle(id)
      w.reject(reason)
    }
  }

  private broadcast(message: (i: number) => object): Promise<void> {
    const id = this.nextId++
    return new Promise((resolve, reject) => {
      if (this.failure !== undefined) return reject(this.failure)
      for (const p of this.ports) p.hold(true)
      this.waiting.set(id, { left: this.ports.length, resolve, reject })
      this.ports.forEach((p, i) => p.post({ id, ...message(i) }))
    })
  }

  /** Hands modules to all threads; they are asleep in their command loop and must come out of it first. */
  install(modules: readonly NewModule[]): Promise<void> {
    if (this.count === 0) return Promise.resolve()
    // One at a time: a thread leaves its loop for one message.
    const done = this.installed.then(() => {
      const arrived = this.broadcast(() => ({ modules }))
      this.wake(control.mails)
      return arrived
    })
    this.installed = done.catch(() => {})
    return done
  }

  /** Lets all threads run a command list; the caller runs its own part and meets them at the barriers. */
  start(list: number, count: number, stride: number): void {
    if (this.failure !== undefined) throw this.failure
    if (this.count === 0) return
    this.words[control.list / 4] = list
    this.words[control.count / 4] = count
    this.words[control.stride / 4] = stride
    this.wake(control.runs)
  }

  private wake(counter: number): void {
    Atomics.add(this.words, counter / 4, 1)
    Atomics.add(this.words, control.work / 4, 1)
    Atomics.notify(this.words, control.work / 4)
  }

  async stop(): Promise<void> {
    this.giveUp(new ThimbleError("device", "close", "the wasm device was closed while it prepared kernels"))
    await Promise.all(this.ports.map((p) => p.stop()))
  }
}

async function openPort(source: string): Promise<Port> {
  if (inNode) {
    const { Worker } = await nodeModule("node:worker_threads")
    const worker = new Worker(source, { eval: true, execArgv: [] })
    return {
      // Listening refers to the port, so that it is not enough to do this once.
      hold: (waiting) => void (waiting ? worker.ref() : worker.unref()),
      post: (m) => worker.postMessage(m),
      listen: (fn, failed) => { worker.on("message", fn); worker.on("error", failed) },
      stop: async () => { await worker.terminate() },
    }
  }
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }))
  const worker = new globalThis.Worker(url)
  return {
    hold: () => {},
    post: (m) => worker.postMessage(m),
    listen: (fn, failed) => {
      worker.onmessage = (e) => {
        URL.revokeObjectURL(url)
        fn(e.data as { done: number })
      }
      worker.onerror = ({ message }) => {
        URL.revokeObjectURL(url)
        failed(new ThimbleError("device", "open", `a thread of the wasm device failed${message ? ` (${message})` : ""}`, "a page's content security policy must allow workers from blob: and 'wasm-unsafe-eval'"))
      }
    },
    stop: () => { worker.terminate(); return Promise.resolve() },
  }
}
