import type fastCheck from "fast-check"
import { ThimbleError, type Device } from "@thimble/core"
import type { QuantizedFormat, Quantizer } from "../quantizer.ts"
import { matrices } from "./arbitrary.ts"
import type { Breach, Case, Law } from "./law.ts"
import { laws } from "./all.ts"
import { minimize } from "./minimize.ts"
import type { LawName } from "./names.ts"
import { explain, type Broken } from "./report.ts"
import { allKinds } from "./values.ts"

export interface LawOptions {
  /** fast-check, which finds cases: `import fc from "fast-check"`. */
  readonly fc: typeof fastCheck
  /** Devices that have to decode and multiply what the host decodes; none unless given. */
  readonly devices?: readonly Device[]
  /** Cases for each law; 100 unless given. */
  readonly runs?: number
  /** Where cases come from; another one each time unless given, or set in fast-check. */
  readonly seed?: number
}

/** A law that was checked. */
export interface Checked { readonly law: LawName; readonly statement: string; readonly cases: number; readonly device?: string }
export interface LawReport {
  readonly quantizer: string
  readonly obeyed: readonly Checked[]
  /** Laws that it says it does not obey, each shown to be broken by its counterexample. */
  readonly notObeyed: readonly { readonly law: LawName; readonly statement: string; readonly problem: string }[]
}

/** Cases that a law is tried on. */
const casesOf = ({ share = 1 }: Law, runs: number): number => Math.ceil(runs / share)

/** What of a case breaks a law, on a device if it is about one. Whatever is thrown breaks it, too. */
async function broken<E>(law: Law, q: Quantizer<E>, c: Case, device: Device | undefined): Promise<Breach | undefined> {
  try {
    return "broken" in law ? await law.broken(q, c) : await law.brokenOn(q as unknown as QuantizedFormat, c, device!)
  } catch (error) {
    return { problem: `throws ${String(error)}` }
  }
}

/** The smallest case that breaks a law, if one is found. */
export async function counterexample<E>(q: Quantizer<E>, law: Law, { fc, runs = 100, seed }: LawOptions, device?: Device): Promise<(Broken & { readonly message: string }) | undefined> {
  const property = fc.asyncProperty(matrices(fc, q, law.kinds ?? allKinds), async (c) => (await broken(law, q, c, device)) === undefined)
  // The matrix is made smaller below, where more is known about it.
  const found = await fc.check(property, { numRuns: casesOf(law, runs), endOnFailure: true, ...(seed === undefined ? {} : { seed }) })
  if (!found.failed) return undefined
  const least = await minimize(found.counterexample![0], async (c) => (await broken(law, q, c, device)) !== undefined, q.unit ?? 1)
  const { problem, at } = (await broken(law, q, least, device))!
  const result: Broken = { law: law.name, statement: law.statement, problem, case: least, seed: found.seed }
  return { ...result, message: explain(q, result, at) }
}

/** The kept counterexample of a law as a case. */
function kept<E>({ counterexamples, unit = 1 }: Quantizer<E>, law: LawName): Case {
  const { values, columns, pick = 0 } = counterexamples![law]!
  const width = columns ?? Math.max(unit, Math.ceil(values.length / unit) * unit), rows = Math.max(1, Math.ceil(values.length / width)), all = new Float32Array(rows * width)
  all.set(values)
  return { values: all, shape: [rows, width], pick }
}

/**
 * Tries a quantizer on values that are hard to round, for each law that it says it obeys, and the counterexample of each
 * that it says it does not. Throws with the smallest matrix that breaks a law, one per broken law.
 */
export async function checkLaws<E>(q: Quantizer<E>, options: LawOptions): Promise<LawReport> {
  const { runs = 100, devices = [] } = options, obeyed: Checked[] = [], notObeyed: LawReport["notObeyed"][number][] = [], faults: string[] = []
  for (const name of q.laws) {
    const law = laws[name] ?? fault(q, `there is no law '${String(name)}'`)
    for (const device of "broken" in law ? [undefined] : devices) {
      const found = await counterexample(q, law, options, device)
      if (found) faults.push(found.message)
      else obeyed.push({ law: name, statement: law.statement, cases: casesOf(law, runs), ...(device && { device: device.name }) })
    }
  }
  for (const name of Object.keys(q.counterexamples ?? {}) as LawName[]) {
    if (q.laws.includes(name)) fault(q, `'${name}' is both obeyed and not obeyed`)
    const law = laws[name] ?? fault(q, `there is no law '${String(name)}'`)
    if (!("broken" in law)) continue
    const problem = (await broken(law, q, kept(q, name), undefined))?.problem
    if (problem === undefined) faults.push(`${q.name} says that it does not obey '${name}', but its counterexample does: ${law.statement}`)
    else notObeyed.push({ law: name, statement: law.statement, problem })
  }
  if (faults.length > 0) throw new ThimbleError("numeric", "checkLaws", `${faults.length} of ${q.laws.length} laws of ${q.name}\n${faults.join("\n")}`)
  return { quantizer: q.name, obeyed, notObeyed }
}

const fault = <E>(q: Quantizer<E>, problem: string): never => {
  throw new ThimbleError("value", "checkLaws", `${q.name}: ${problem}`)
}
