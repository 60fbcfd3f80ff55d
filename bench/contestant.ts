import { fork } from "node:child_process"
import { fault, type Sample } from "./check.ts"
import type { Contestant } from "./measure.ts"
import type { Absent } from "./peer.ts"
import type { Expected, Work } from "./work.ts"

/** What the parent asks of a participant's process, and what it may hear. */
export type Ask = { ask: "prepare"; runs: number; at: Uint32Array } | { ask: "time"; runs: number } | { ask: "close" }
export type Answer = Sample | Absent | number

/** A participant whose result for a work was right, ready to be timed. */
export interface Racer extends Contestant {
  close(): Promise<void>
}

/** Starts a participant's process and compares its result with the expected one. */
export async function start(
  participant: Participant,
  work: Work,
  threads: number,
  expected: Expected,
  signal: AbortSignal,
): Promise<Racer | Absent> {
  const child = fork(new URL("child.ts", import.meta.url), [participant.module, work.name, String(threads)], {
    serialization: "advanced",
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  })
  let complaints = ""
  child.stderr!.on("data", (text: Buffer) => (complaints = (complaints + text).slice(-2000)))
  const ended = new Promise<Absent>((resolve) => {
    child.on("exit", (code, how) => resolve({ absent: `process ended (${how ?? code}) ${lastLine(complaints)}`.trim() }))
  })
  const kill = (): boolean => child.kill("SIGKILL")
  signal.addEventListener("abort", kill)
  void ended.then(() => signal.removeEventListener("abort", kill))

  const put = async (ask: Ask): Promise<Answer> => {
    if (!child.connected) return ended
    const answer = new Promise<Answer>((resolve) => child.once("message", (message) => resolve(message as Answer)))
    child.send(ask)
    return Promise.race([answer, ended])
  }

  const close = async (): Promise<void> => {
    const patience = setTimeout(kill, 2000)
    await put({ ask: "close" })
    if (child.connected) child.disconnect()
    await ended
    clearTimeout(patience)
  }

  const got = (await put({ ask: "prepare", runs: work.runs, at: expected.at })) as Sample | Absent
  const absent = "absent" in got ? got.absent : fault(got, expected, work.tolerance)
  if (absent) {
    await close()
    return { absent }
  }
  return {
    name: participant.name,
    async time(runs) {
      const ms = (await put({ ask: "time", runs })) as number | Absent
      if (typeof ms !== "number") throw new Error(ms.absent)
      return ms
    },
    close,
  }
}

export interface Participant {
  name: string
  /** Where its `peer` is exported. */
  module: string
}

const lastLine = (text: string): string => text.trim().split("\n").at(-1) ?? ""
