// Worker threads over the shared memory. A worker that has found no step to help with for a while sleeps on the control
// block's work word; new modules reach it as messages, for which it goes back to its event loop.
import { erfOfNumber as erf, ThimbleError } from "@thimble/core"
import { inNode, nodeModule } from "./node.ts"
import { closed, control } from "./runner.ts"

/** What every instance imports besides memory and table. */
export const hostImports: Record<string, (a: number, b: number) => number> = {
  exp: Math.exp, log: Math.log, sin: Math.sin, cos: Math.cos, atan: Math.atan, tanh: Math.tanh, pow: (a, b) => (a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : Math.pow(a, b)),
  rem: (a, b) => a % b, erf,
}

/** Self-contained source of a worker. */
const workerSource = (): string => `
const host = { exp: Math.exp, log: Math.log, sin: Math.sin, cos: Math.cos, atan: Math.atan, tanh: Math.tanh,
  pow: (a, b) => (a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : Math.pow(a, b)), rem: (a, b) => a % b, erf: ${erf.toString()} }
let memory, table, help, thread, words, port, mails = 0
const at = ${JSON.stringify(Object.fromEntries(Object.entries(control).map(([name, byte]) => [name, byte / 4])))}
const receive = async (message) => {
  if (message.memory) {
    ({ memory, thread } = message)
    words = new Int32Array(memory.buffer)
    table = new WebAssembly.Table({ element: "anyfunc", initial: 64 })
    help = new WebAssembly.Instance(message.runner, { env: { memory, table } }).exports.help
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
    const seen = Atomics.load(words, at.work)
    if (mails !== (mails = Atomics.load(words, at.mails))) return
    try {
      help(thread, mails)
    } catch (e) {
      // The caller waits for what this thread had taken.
      Atomics.store(words, at.failed, 1)
      Atomics.notify(words, at.done)
      throw e
    }
    Atomics.add(words, at.asleep, 1)
    Atomics.wait(words, at.work, seen)
    Atomics.sub(words, at.asleep, 1)
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
    this.words[control.ticket / 4] = closed
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
    const ports = await Promise.all(Array.from({ length: count }, () => openPort(workerSource())))
    const threads = new Threads(memory, ports)
    try {
      await threads.broadcast((i) => ({ memory, runner, thread: i + 1 }))
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
      Atomics.add(this.words, control.mails / 4, 1)
      Atomics.add(this.words, control.work / 4, 1)
      Atomics.notify(this.words, control.work / 4)
      return arrived
    })
    this.installed = done.catch(() => {})
    return done
  }

  /** Why the threads cannot be used any more, if they cannot. */
  get failed(): Error | undefined {
    return this.failure
  }

  /** After a trap: no thread may take more of the step that was open, and none is asked again. */
  abandon(reason: Error): void {
    Atomics.or(this.words, control.ticket / 4, closed)
    this.giveUp(reason)
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
