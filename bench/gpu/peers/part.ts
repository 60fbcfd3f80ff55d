import { fault } from "../../check.ts"
import type { Expected } from "../../work.ts"
import type { Part } from "../part.ts"
import { participants } from "./participants.ts"
import { Participant, type Timed } from "./process.ts"
import { gpuWorks } from "./works.ts"

const us = "thimble"
/** WORKS names the works that are wanted, by a regular expression. */
const chosen = new RegExp(process.env.WORKS ?? "", "i")
/** A participant may take this long for a work, its start and the check of its result included. */
const patience = 20_000

/** Thimble and its peers in JavaScript, each work by all of them, one after the other. */
export const peers: Part = {
  name: "peers in JavaScript on the same adapter",
  seconds: 400,
  async run({ tiny, left, row }) {
    const contest = Object.keys(participants).map((name) => new Participant(name))
    try {
      for (const [index, work] of gpuWorks(tiny).entries()) {
        if (!chosen.test(work.name)) continue
        if (left() < 5000) {
          row(work.name, { "left out": "no time is left" })
          continue
        }
        const expected = work.expected(), figures: Record<string, number | string> = {}
        for (const participant of contest) {
          const { name } = participant
          const told = await participant.ask({ work: index, tiny, at: expected.at }, Math.min(patience, Math.max(1000, left())))
          const why = "absent" in told ? told.absent : fault(told.result, expected, work.tolerance)
          if (why !== undefined || "absent" in told) figures[name] = `– (${why})`
          else {
            const ours = figures[`${us} ms`]
            figures[`${name} ms`] = told.ms
            if (work.unit === "GFLOP/s") figures[`${name} TFLOP/s`] = work.amount / told.ms
            if (typeof ours === "number" && name !== us) figures[`${name}, times ours`] = told.ms / ours
            figures[`${name} first s`] = told.prepareMs / 1e3
            figures[`${name} error`] = error(told, expected)
          }
        }
        row(work.name, figures)
      }
    } finally {
      for (const participant of contest) participant.close()
    }
  },
}

const error = ({ result }: Timed, { values, scale }: Expected): number => values.reduce((most, value, i) => Math.max(most, Math.abs(result.values[i]! - value)), 0) / scale
