import { execFile, spawn } from "node:child_process"
import type { Readable } from "node:stream"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import type { Peer } from "../peer.ts"
import type { Work } from "../work.ts"

const interpreter = process.env.PYTHON ?? "python3"

/** PyTorch in a Python process of its own, where Python can import it. A run costs a line through a pipe each way. */
export const peer: Peer = {
  name: "pytorch",
  async prepare(work, threads) {
    if (work.op === "q4" || work.op === "attention" || (work.op === "matmul" && work.dims.half)) return { absent: `has no ${work.op} here` }
    const importable = await promisify(execFile)(interpreter, ["-c", "import torch, numpy"]).then(
      () => true,
      () => false,
    )
    if (!importable) return { absent: `${interpreter} cannot import torch` }

    const python = spawn(interpreter, [fileURLToPath(new URL("pytorch.py", import.meta.url))], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, OMP_NUM_THREADS: String(threads), OPENBLAS_NUM_THREADS: String(threads) },
    })
    const tensors = tensorsOf(work)
    const described = tensors.map(({ name, shape }) => ({ name, shape }))
    python.stdin.write(`${JSON.stringify({ op: work.op, dims: work.dims, threads, tensors: described })}\n`)
    for (const { data } of tensors) python.stdin.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    const reader = new Reader(python.stdout)
    const say = async (word: string): Promise<string> => {
      python.stdin.write(`${word}\n`)
      return reader.line()
    }
    return {
      run: async () => void (await say("run")),
      async result() {
        const bytes = await reader.bytes(Number(await say("result")))
        return new Float32Array(Uint8Array.from(bytes).buffer)
      },
      close: async () => void python.kill(),
    }
  },
}

interface Named {
  name: string
  shape: readonly number[]
  data: Float32Array
}

/** A work's inputs with the shapes PyTorch wants. */
function tensorsOf(work: Work): Named[] {
  switch (work.op) {
    case "q4":
    case "attention":
      return []
    case "matmul": {
      const { m, k, n } = work.dims
      const { a, b } = work.inputs()
      return [
        { name: "a", shape: [m, k], data: a },
        { name: "b", shape: [k, n], data: b },
      ]
    }
    case "matvec": {
      const { rows, columns } = work.dims
      const { x, w } = work.inputs()
      return [
        { name: "x", shape: [columns], data: x },
        { name: "w", shape: [rows, columns], data: w },
      ]
    }
    case "gelu":
    case "exp":
      return [{ name: "x", shape: [work.dims.size], data: work.inputs().x }]
    case "train": {
      const { batch, sizes } = work.dims
      const { x, targets, params } = work.inputs()
      return [
        { name: "x", shape: [batch, sizes[0]], data: x },
        { name: "targets", shape: [batch, sizes.at(-1)!], data: targets },
        ...params.map((data, i) => ({
          name: `params.${i}`,
          shape: i % 2 ? [data.length] : [sizes[i >> 1], sizes[(i >> 1) + 1]],
          data,
        })),
      ]
    }
    case "transformer": {
      const { tokens, width, hidden } = work.dims
      const { x, layers } = work.inputs()
      const matrices: Record<string, number[]> = {
        qkv: [width, 3 * width],
        out: [width, width],
        up: [width, hidden],
        down: [hidden, width],
      }
      return [
        { name: "x", shape: [tokens, width], data: x },
        ...layers.flatMap((layer, i) =>
          Object.entries(layer).map(([part, data]) => ({
            name: `layers.${i}.${part}`,
            shape: matrices[part] ?? [data.length],
            data,
          })),
        ),
      ]
    }
    default: {
      const { rows, columns } = work.dims
      const inputs: Record<string, Float32Array> = { ...work.inputs() }
      return Object.entries(inputs).map(([name, data]) => ({
        name,
        shape: name === "x" ? [rows, columns] : [columns],
        data,
      }))
    }
  }
}

/** Lines and counted bytes from one stream. */
class Reader {
  #kept: Buffer = Buffer.alloc(0)
  readonly #chunks: AsyncIterator<Buffer>

  constructor(stream: Readable) {
    this.#chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  }

  async line(): Promise<string> {
    while (!this.#kept.includes("\n")) await this.#more()
    const end = this.#kept.indexOf("\n")
    return this.#take(end + 1)
      .subarray(0, end)
      .toString()
  }

  async bytes(size: number): Promise<Buffer> {
    const parts = [this.#take(Math.min(size, this.#kept.length))]
    for (let missing = size - parts[0].length; missing > 0;) {
      await this.#more()
      const part = this.#take(Math.min(missing, this.#kept.length))
      parts.push(part)
      missing -= part.length
    }
    return Buffer.concat(parts)
  }

  #take(size: number): Buffer {
    const taken = this.#kept.subarray(0, size)
    this.#kept = this.#kept.subarray(size)
    return taken
  }

  async #more(): Promise<void> {
    const { value, done } = await this.#chunks.next()
    if (done) throw new Error("the Python process ended")
    this.#kept = this.#kept.length === 0 ? value : Buffer.concat([this.#kept, value])
  }
}
