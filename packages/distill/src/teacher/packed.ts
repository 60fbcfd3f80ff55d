import { fail } from "@thimble/core"

/** Logarithms of probabilities are stored in steps of 1/2048, down to −32. */
const steps = 2048

/**
 * Packs the k most probable classes of some positions, best first. What two neighbours of a position's logarithms differ by is a small
 * number ≥ 0; bytes of one kind, and of one rank, stand together, and all of it is deflated (RFC 1951).
 */
export async function packAnswers(indices: Int32Array, logProbabilities: Float32Array, k: number, classes: number): Promise<Uint8Array> {
  const n = indices.length / k, width = widthOf(classes), out = new Uint8Array((2 + width) * n * k)
  for (let position = 0; position < n; position++) {
    let before = 0
    for (let rank = 0; rank < k; rank++) {
      const from = position * k + rank, to = rank * n + position
      const code = Math.max(before, Math.min(Math.round(-logProbabilities[from]! * steps), 65535)), step = code - before
      before = code
      out[to] = step & 255
      out[n * k + to] = step >>> 8
      for (let b = 0; b < width; b++) out[(2 + b) * n * k + to] = (indices[from]! >>> (8 * b)) & 255
    }
  }
  return through(out, new CompressionStream("deflate-raw"))
}

/** What {@link packAnswers} packed, of n positions. */
export async function unpackAnswers(bytes: Uint8Array, n: number, k: number, classes: number): Promise<{ readonly indices: Int32Array; readonly logProbabilities: Float32Array }> {
  const width = widthOf(classes), all = await through(bytes, new DecompressionStream("deflate-raw")).catch(() => new Uint8Array(0))
  if (all.length !== (2 + width) * n * k) fail("format", "cachedTeacher", `a block of ${n} positions should unpack to ${(2 + width) * n * k} bytes, and has ${all.length}`)
  const indices = new Int32Array(n * k), logProbabilities = new Float32Array(n * k)
  for (let position = 0; position < n; position++) {
    let code = 0
    for (let rank = 0; rank < k; rank++) {
      const to = position * k + rank, from = rank * n + position
      code += all[from]! | (all[n * k + from]! << 8)
      logProbabilities[to] = -code / steps
      let index = 0
      for (let b = 0; b < width; b++) index |= all[(2 + b) * n * k + from]! << (8 * b)
      indices[to] = index
    }
  }
  return { indices, logProbabilities }
}

/** Bytes of a class's number. */
const widthOf = (classes: number): number => (classes <= 256 ? 1 : classes <= 65536 ? 2 : 3)

async function through(bytes: Uint8Array, stream: CompressionStream | DecompressionStream): Promise<Uint8Array> {
  return new Uint8Array(await new Response(new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(stream)).arrayBuffer())
}
