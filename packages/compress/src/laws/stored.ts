// B3, B11, E3 and E6: what is on a grid, which codes are used, how many bits they take, and files.
import { encodeSafetensors, openSafetensors, type RawTensor } from "@thimble/formats"
import type { Part } from "@thimble/core"
import { show } from "./bounds.ts"
import { breach, differing, groupsOf, roundTrip, type HostLaw } from "./law.ts"
import { inRange } from "./algebra.ts"
import { numbers } from "./values.ts"

export const onGrid: HostLaw = {
  name: "onGrid", letter: "B3",
  statement: "A group of values that its codes stand for, both ends among them, decodes to itself, as long as scales stay in their range.",
  broken(q, { values, shape: [rows, columns], shape, pick }) {
    if (q.levels === undefined || !inRange(q, values, shape)) return undefined
    const there = roundTrip(q, values, shape)
    if (there === undefined) return undefined
    const next = numbers(pick), on = new Float32Array(values.length)
    for (let r = 0; r < rows; r++)
      for (const [from, to] of groupsOf(q, columns)) {
        const levels = q.levels(there.encoded, shape, r, from).filter(Number.isFinite), low = Math.min(...levels), high = Math.max(...levels)
        for (let c = from; c < to; c++) on[r * columns + c] = c === from ? high : c === from + 1 ? low : levels[Math.floor(next() * levels.length)]!
        // One element cannot be at both ends.
        if (to - from === 1) on[r * columns + from] = Math.abs(low) > Math.abs(high) ? low : high
      }
    if (!inRange(q, on, shape)) return undefined
    const again = roundTrip(q, on, shape), at = again && differing(on, again.back, shape)
    return at && { at, problem: `${show(on[at.i]!)} is on the grid and becomes ${show(again.back[at.i]!)}` }
  },
}

export const extremes: HostLaw = {
  name: "extremes", letter: "B11",
  statement: "Every element decodes to what one of its codes stands for, and the largest magnitude of a group to the farthest of them on its side.",
  broken(q, { values, shape: [rows, columns], shape }) {
    if (q.levels === undefined || !inRange(q, values, shape)) return undefined
    const there = roundTrip(q, values, shape)
    if (there === undefined) return undefined
    for (let r = 0; r < rows; r++)
      for (const [from, to] of groupsOf(q, columns)) {
        let most = r * columns + from
        for (let i = r * columns + from; i < r * columns + to; i++) if (Math.abs(values[i]!) > Math.abs(values[most]!)) most = i
        const x = values[most]!, levels = q.levels(there.encoded, shape, r, most % columns).filter(Number.isFinite), end = x < 0 ? Math.min(...levels) : Math.max(...levels)
        if (!levels.includes(there.back[most]!) && !levels.some((v) => Math.abs(v - there.back[most]!) <= Math.abs(v) * 2 ** -22)) return breach(most, shape, `x̂ = ${show(there.back[most]!)} is what no code stands for`)
        if (x !== 0 && Math.abs(there.back[most]! - end) > Math.abs(end) * 2 ** -22) return breach(most, shape, `${show(x)}, the largest of its group, becomes ${show(there.back[most]!)}, and the last code stands for ${show(end)}`)
      }
    return undefined
  },
}

/** A row so long that what a row or a matrix stores once does not count. */
const long = 2 ** 24
export const rate: HostLaw = {
  name: "rate", letter: "E3",
  statement: "Long rows take as many bits per weight as the format says, what a row or a matrix stores once not counted.",
  broken(q) {
    const said = (q as { readonly bits?: number }).bits
    if (said === undefined) return { problem: "it does not say how many bits a weight takes" }
    const bits = (q.storageBytes([1, long]) * 8) / long
    return Math.abs(bits - said) <= 1e-3 ? undefined : { problem: `a weight takes ${show(bits)} bits, and it says ${said}` }
  },
}

const isPart = (v: unknown): v is Part => typeof v === "object" && v !== null && "dtype" in v && "shape" in v && "data" in v
const fileTypes: Readonly<Record<string, RawTensor["dtype"]>> = { f32: "F32", f16: "F16", bf16: "BF16", i8: "I8", u8: "U8", i32: "I32", u32: "U32", i16: "I16", u16: "U16", i64: "I64" }
export const saves: HostLaw = {
  name: "saves", letter: "E6", share: 8,
  statement: "Saved to a file, loaded and saved again, it gives the same bytes, and decodes to the same.",
  async broken(q, { values, shape }) {
    const there = roundTrip(q, values, shape)
    if (there === undefined) return undefined
    const parts = Object.entries(there.encoded as Record<string, unknown>)
    if (!parts.every(([, p]) => isPart(p))) return { problem: "what it stores are not named parts with a type and a shape" }
    const save = (all: readonly (readonly [string, unknown])[]): Promise<Uint8Array> => bytesOf(Object.fromEntries(all.map(([name, p]) => {
      const { dtype, shape: own, data } = p as Part
      return [name, { dtype: fileTypes[dtype]!, shape: own, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }]
    })))
    const first = await save(parts), file = await openSafetensors(first), loaded: [string, unknown][] = []
    for (const [name, p] of parts) {
      const { dtype, shape: own } = p as Part
      loaded.push([name, { dtype, shape: own, data: await file.array(name) }])
    }
    const second = await save(loaded), at = differing(there.back, q.decode(Object.fromEntries(loaded) as typeof there.encoded, shape), shape)
    if (at) return { at, problem: `${show(there.back[at.i]!)} is another value after loading` }
    return first.length === second.length && first.every((b, i) => b === second[i]) ? undefined : { problem: "the file is another one when it is saved again" }
  },
}
async function bytesOf(tensors: Readonly<Record<string, RawTensor>>): Promise<Uint8Array> {
  const pieces: Uint8Array<ArrayBuffer>[] = []
  for await (const piece of encodeSafetensors(tensors)) pieces.push(piece.slice())
  return new Uint8Array(await new Blob(pieces).arrayBuffer())
}
