// E and F1: bytes.
import { arraysOf, roundTrip, type HostLaw } from "./law.ts"
import { numbers } from "./values.ts"

export const storage: HostLaw = {
  name: "storage", letter: "E2",
  statement: "What is stored takes storageBytes(shape) bytes.",
  broken(q, { values, shape }) {
    const there = roundTrip(q, values, shape)
    if (there === undefined) return undefined
    const bytes = arraysOf(there.encoded).reduce((n, a) => n + a.byteLength, 0), said = q.storageBytes(shape)
    return bytes === said ? undefined : { problem: `${shape.join(" by ")} takes ${bytes} bytes, but storageBytes says ${said}` }
  },
}

export const anyBytes: HostLaw = {
  name: "anyBytes", letter: "E5",
  statement: "Whatever bytes are stored, decoding gives as many numbers as the matrix has, and reads nothing else.",
  broken(q, { values, shape, pick }) {
    const there = roundTrip(q, values, shape)
    if (there === undefined) return undefined
    const next = numbers(pick)
    for (const { buffer, byteOffset, byteLength } of arraysOf(there.encoded)) new Uint8Array(buffer, byteOffset, byteLength).forEach((_, i, bytes) => (bytes[i] = next() * 256))
    const { length } = q.decode(there.encoded, shape)
    return length === values.length ? undefined : { problem: `${values.length} elements decode to ${length}` }
  },
}

export const deterministic: HostLaw = {
  name: "deterministic", letter: "F1",
  statement: "The same values are stored in the same bytes.",
  broken(q, { values, shape }) {
    const first = roundTrip(q, values, shape), second = roundTrip(q, values.slice(), shape)
    if (first === undefined || second === undefined) return undefined
    const [a, b] = [first, second].map(({ encoded }) => arraysOf(encoded).map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength)))
    return a!.length === b!.length && a!.every((bytes, i) => bytes.length === b![i]!.length && bytes.every((v, j) => v === b![i]![j])) ? undefined : { problem: "two runs store different bytes" }
  },
}
