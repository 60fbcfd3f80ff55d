// Laws of other things than quantizers: solvers, factors, rotations, observers, pruners, packings.
import type fastCheck from "fast-check"
import { ThimbleError } from "@thimble/core"
import type { LawOptions } from "./check.ts"
import type { Breach } from "./law.ts"
import { least } from "./minimize.ts"

/** A law about S, tried on cases C. */
export interface LawOf<S, C, N extends string = string> {
  readonly name: N
  /** Which of the laws in docs/laws.md it is. */
  readonly letter: string
  readonly statement: string
  /** What of a case breaks it; nothing if it holds, or has nothing to say. */
  broken(subject: S, c: C): Breach | undefined | Promise<Breach | undefined>
}

/** What says which laws it obeys. */
export interface Subject<N extends string, C> {
  readonly name: string
  readonly laws: readonly N[]
  /** Laws it does not obey, each with what breaks it. */
  readonly counterexamples?: Readonly<Partial<Record<N, C>>>
}

export interface SubjectReport<N extends string> {
  readonly subject: string
  readonly obeyed: readonly { readonly law: N; readonly statement: string; readonly cases: number }[]
  readonly notObeyed: readonly { readonly law: N; readonly statement: string; readonly problem: string }[]
}

/** How laws of one kind are tried: where cases come from, what is smaller than one, and how it is printed. */
export interface Kit<S extends Subject<N, C>, C, N extends string> {
  readonly op: string
  readonly laws: Readonly<Record<N, LawOf<S, C, N>>>
  cases(fc: typeof fastCheck, subject: S): fastCheck.Arbitrary<C>
  /** Candidates with less in them or plainer ones, the boldest first. */
  readonly smaller: readonly ((c: C, subject: S) => Generator<C>)[]
  show(c: C): readonly string[]
}

async function broken<S extends Subject<N, C>, C, N extends string>(law: LawOf<S, C, N>, subject: S, c: C): Promise<Breach | undefined> {
  try {
    return await law.broken(subject, c)
  } catch (error) {
    return { problem: `throws ${String(error)}` }
  }
}

/** The smallest case that breaks a law, if one is found, with what a person reads of it. */
export async function counterexampleOf<S extends Subject<N, C>, C, N extends string>(kit: Kit<S, C, N>, subject: S, law: LawOf<S, C, N>, { fc, runs = 100, seed }: LawOptions): Promise<{ readonly case: C; readonly problem: string; readonly message: string } | undefined> {
  const property = fc.asyncProperty(kit.cases(fc, subject), async (c) => (await broken(law, subject, c)) === undefined)
  const found = await fc.check(property, { numRuns: runs, endOnFailure: true, ...(seed === undefined ? {} : { seed }) })
  if (!found.failed) return undefined
  const smallest = await least(found.counterexample![0], async (c) => (await broken(law, subject, c)) !== undefined, kit.smaller.map((of) => (c: C) => of(c, subject)))
  const { problem } = (await broken(law, subject, smallest))!
  const message = [`${subject.name} breaks the law '${law.name}': ${law.statement}`, problem, ...kit.show(smallest), `again with seed ${found.seed}`].map((line, i) => (i === 0 ? line : `  ${line}`)).join("\n")
  return { case: smallest, problem, message }
}

/** Tries each law that a subject says it obeys, and the counterexample of each that it says it does not. Throws with the smallest case of each broken law. */
export async function checkSubject<S extends Subject<N, C>, C, N extends string>(kit: Kit<S, C, N>, subject: S, options: LawOptions): Promise<SubjectReport<N>> {
  const { op, laws } = kit, { runs = 100 } = options, obeyed: SubjectReport<N>["obeyed"][number][] = [], notObeyed: SubjectReport<N>["notObeyed"][number][] = [], faults: string[] = []
  const named = (name: N): LawOf<S, C, N> => {
    if (laws[name] === undefined) throw new ThimbleError("value", op, `${subject.name}: there is no law '${String(name)}'`)
    return laws[name]
  }
  for (const name of subject.laws) {
    const law = named(name), found = await counterexampleOf(kit, subject, law, options)
    if (found) faults.push(found.message)
    else obeyed.push({ law: name, statement: law.statement, cases: runs })
  }
  for (const name of Object.keys(subject.counterexamples ?? {}) as N[]) {
    if (subject.laws.includes(name)) throw new ThimbleError("value", op, `${subject.name}: '${name}' is both obeyed and not obeyed`)
    const law = named(name), problem = (await broken(law, subject, subject.counterexamples![name]!))?.problem
    if (problem === undefined) faults.push(`${subject.name} says that it does not obey '${name}', but its counterexample does: ${law.statement}`)
    else notObeyed.push({ law: name, statement: law.statement, problem })
  }
  if (faults.length > 0) throw new ThimbleError("numeric", op, `${faults.length} of ${subject.laws.length} laws of ${subject.name}\n${faults.join("\n")}`)
  return { subject: subject.name, obeyed, notObeyed }
}
