import { fail } from "@thimble/core"
import type { Dimensions } from "./loss.ts"

/** A place in a model: after a block, before the first one, or where the head reads. */
export type Place = number | "embedding" | "final"
export type Pair = readonly [student: Place, teacher: Place]
/** Which places of student and teacher belong together; or a rule that tells from how many blocks both have. */
export type Pairing = readonly Pair[] | ((student: number, teacher: number) => readonly Pair[])

/** Block i of the student's M with block ⌈(i+1)·N/M⌉ − 1 of the teacher's N: evenly, the last with the last (TinyBERT's uniform strategy). */
export const evenly = (): Pairing => (student, teacher) => Array.from({ length: student }, (_, i) => [i, Math.ceil(((i + 1) * teacher) / student) - 1] as const)
/** Block i of the student with block 2i + 1 of a teacher with twice as many. */
export const everyOther = (): Pairing => (student, teacher) => {
  if (teacher !== 2 * student) fail("value", "everyOther", `needs a teacher of ${2 * student} blocks for a student of ${student}, got ${teacher}`, "evenly() takes any numbers")
  return Array.from({ length: student }, (_, i) => [i, 2 * i + 1] as const)
}
/** The last block of both. */
export const lastBlock = (): Pairing => (student, teacher) => [[student - 1, teacher - 1]]

/** The pairs for two models; blocks that are not there are refused. */
export function pairsOf(loss: string, pairing: Pairing, student: number, teacher: number): readonly Pair[] {
  const pairs = typeof pairing === "function" ? pairing(student, teacher) : pairing
  if (pairs.length === 0) fail("value", loss, "no layers to compare")
  for (const pair of pairs) pair.forEach((place, i) => {
    const [whose, count] = i === 0 ? ["student", student] as const : ["teacher", teacher] as const
    if (typeof place === "number" && !(Number.isInteger(place) && place >= 0 && place < count))
      fail("value", loss, `the ${whose} has no block ${place}`, `it has ${count}, from 0 on`)
  })
  return pairs
}
/** {@link pairsOf} from sizes that models told of. */
export const pairsFor = (loss: string, pairing: Pairing, student: Dimensions, teacher: Dimensions | undefined): readonly Pair[] =>
  pairsOf(loss, pairing, layersOf(loss, "student", student), layersOf(loss, "teacher", teacher))
const layersOf = (loss: string, whose: string, d: Dimensions | undefined): number => d?.layers ?? fail("value", loss, `the ${whose} does not say how many blocks it has`)

/** What a pairing asks of one side. */
export const placesNeeded = (pairing: Pairing, side: 0 | 1): ("hidden" | "embedding" | "final")[] =>
  typeof pairing === "function" ? ["hidden"] : [...new Set(pairing.map((pair) => (typeof pair[side] === "number" ? "hidden" : pair[side])))]
