// What a helping thread runs: it encodes rows in formats that have names.
import { formatNamed } from "../format/named.ts"
import type { QuantizedFormat } from "../quantizer.ts"
import type { Answer, Request } from "./helper.ts"
import { inNode, workerThreads } from "./node.ts"

const formats = new Map<string, QuantizedFormat>()
function named(name: string): QuantizedFormat {
  const format = formats.get(name) ?? formatNamed(name)
  formats.set(name, format)
  return format
}

function answer({ id, format, values, shape, importance }: Request): Answer {
  try {
    return { id, parts: named(format).encode(values, shape, importance && { importance }) }
  } catch {
    // Whoever asked encodes by itself then, and meets the error with the places of the whole matrix.
    return { id, parts: undefined }
  }
}
const buffersOf = ({ parts = {} }: Answer): ArrayBuffer[] => [...new Set(Object.values(parts).map(({ data }) => data.buffer as ArrayBuffer))]

if (inNode) {
  const port = (await workerThreads()).parentPort!
  port.on("message", (request: Request) => {
    const found = answer(request)
    port.postMessage(found, buffersOf(found))
  })
  port.postMessage("ready")
} else {
  const port = globalThis as unknown as { onmessage: (event: MessageEvent<Request>) => void; postMessage(message: unknown, transfer?: Transferable[]): void }
  port.onmessage = ({ data }) => {
    const found = answer(data)
    port.postMessage(found, buffersOf(found))
  }
  port.postMessage("ready")
}
