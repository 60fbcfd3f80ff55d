import { resolveObjectURL } from "node:buffer"
import { Worker as NodeWorker } from "node:worker_threads"

const prelude = `
const { parentPort } = require('node:worker_threads')
globalThis.self = globalThis
globalThis.postMessage = (message) => parentPort.postMessage(message)
parentPort.on('message', (data) => self.onmessage({ data }))
`

/** As much of the browser's Worker as a library needs that starts one from a blob and talks by messages. */
class WebWorker {
  onmessage?: (event: { data: unknown }) => void
  onerror?: (error: Error) => void
  readonly #worker: Promise<NodeWorker>

  constructor(url: string) {
    this.#worker = resolveObjectURL(url)!
      .text()
      .then((source) => {
        const worker = new NodeWorker(prelude + source, { eval: true })
        worker.on("message", (data) => this.onmessage?.({ data }))
        worker.on("error", (error) => this.onerror?.(error as Error))
        worker.unref()
        return worker
      })
  }

  postMessage(message: unknown): void {
    void this.#worker.then((worker) => worker.postMessage(message))
  }
}

/** Lets libraries written for browsers start `threads` workers in Node. Call it before importing them. */
export function standInForWebWorkers(threads: number): void {
  Object.assign(globalThis, { Worker: WebWorker })
  Object.defineProperty(navigator, "hardwareConcurrency", { value: threads })
}
