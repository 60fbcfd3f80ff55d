// Threads that help to encode. They are kept for the next matrix, end when none came for a while, and hold the process only
// while somebody waits for them. Where they cannot be had, or one fails, there are none from then on.
import type { MatrixShape, Parts } from "../quantizer.ts"
import { inNode, workerThreads } from "./node.ts"

export interface Request { readonly id: number; readonly format: string; readonly values: Float32Array<ArrayBuffer>; readonly shape: MatrixShape; readonly importance: Float32Array | undefined }
/** No parts: it failed. */
export interface Answer { readonly id: number; readonly parts: Parts | undefined }

interface Port {
  post(message: Request): void
  hold(waiting: boolean): void
  stop(): void
}

export interface Helper {
  /** Whether it takes another piece: it has begun to run, and one piece at most waits behind the one it works on. */
  readonly free: boolean
  /** The parts of some rows, or undefined if it failed. Takes the values away. */
  encode(format: string, values: Float32Array<ArrayBuffer>, shape: MatrixShape, importance: Float32Array | undefined): Promise<Parts | undefined>
}

/** How long helpers are kept that nobody asks. */
const idleMs = 5000

class Thread implements Helper {
  private port: Port | undefined
  private ready = false
  private nextId = 1
  private readonly waiting = new Map<number, (parts: Parts | undefined) => void>()

  static start(): Thread {
    const thread = new Thread()
    openPort((message) => thread.receive(message), () => thread.fail()).then((port) => {
      thread.port = port
      if (helpers.has(thread)) return
      port.stop()
    }, () => thread.fail())
    return thread
  }

  get free(): boolean {
    return this.ready && this.port !== undefined && this.waiting.size < 2
  }

  encode(format: string, values: Float32Array<ArrayBuffer>, shape: MatrixShape, importance: Float32Array | undefined): Promise<Parts | undefined> {
    const id = this.nextId++
    return new Promise((resolve) => {
      this.waiting.set(id, resolve)
      this.port!.hold(true)
      this.port!.post({ id, format, values, shape, importance })
    })
  }

  private receive(message: Answer | "ready"): void {
    if (message === "ready") {
      this.ready = true
      return
    }
    const resolve = this.waiting.get(message.id)
    this.waiting.delete(message.id)
    if (this.waiting.size === 0) this.port?.hold(false)
    resolve?.(message.parts)
  }

  private fail(): void {
    missing = true
    this.stop()
  }
  stop(): void {
    helpers.delete(this)
    this.ready = false
    this.port?.stop()
    for (const resolve of this.waiting.values()) resolve(undefined)
    this.waiting.clear()
  }
}

const helpers = new Set<Thread>()
let missing = false, callers = 0
let ending: ReturnType<typeof setTimeout> | undefined

/**
 * So many helpers, or as many as there can be, until they are released. Those that begin to run only now help as soon as
 * they can.
 */
export function callHelpers(count: number): readonly Helper[] {
  callers++
  clearTimeout(ending)
  while (helpers.size < count && !missing) helpers.add(Thread.start())
  return [...helpers].slice(0, count)
}
/** Once for each call: nobody asks these helpers any more on its behalf. */
export function releaseHelpers(): void {
  if (--callers > 0) return
  ending = setTimeout(endHelpers, idleMs)
  if (typeof ending === "object") ending.unref()
}
/** Ends all helpers; what they work on is encoded by whoever asked. */
export function endHelpers(): void {
  for (const helper of [...helpers]) helper.stop()
}

/** The program of the threads lies beside this file, as source and when it is built. */
const program = (): URL => new URL(import.meta.url.includes("/parallel/helper.ts") ? "./encode-worker.ts" : "./encode-worker.js", import.meta.url)

async function openPort(receive: (message: Answer | "ready") => void, failed: () => void): Promise<Port> {
  if (inNode) {
    const { Worker } = await workerThreads()
    const worker = new Worker(program(), { execArgv: [] })
    worker.on("message", receive)
    worker.on("error", failed)
    // Listening refers to it.
    worker.unref()
    return {
      post: (m) => worker.postMessage(m, [m.values.buffer]),
      hold: (waiting) => void (waiting ? worker.ref() : worker.unref()),
      stop: () => void worker.terminate(),
    }
  }
  const worker = new globalThis.Worker(program(), { type: "module" })
  worker.onmessage = ({ data }: MessageEvent<Answer | "ready">) => receive(data)
  worker.onerror = failed
  return { post: (m) => worker.postMessage(m, [m.values.buffer]), hold: () => {}, stop: () => worker.terminate() }
}
