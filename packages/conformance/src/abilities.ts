import type { Device } from "@thimble/core"
import type { OpName } from "./table/index.ts"
import { without, type Lacks } from "./table/spec.ts"

/** A device that the conformance suite runs on. What it cannot do is a skip with its reason. */
export interface DeviceRow {
  readonly name: string
  open(): Device | Promise<Device>
  /** Whether it has f64; all do unless it says so. Without, f32 stands in wherever f64 would be drawn. */
  readonly f64?: boolean
  /** Whether numbers below the normal ones of f32 are kept; all do unless it says so. Without, they may count as zero. */
  readonly subnormals?: boolean
  /** Share of the usual random cases that it is tried with. */
  readonly share?: number
  /** How many of an op's given cases it is tried with; all unless given. */
  readonly corners?: number
  /** How many recorded values of a kind, of one op say, it is tried with; all unless given. */
  readonly recorded?: number
  /** Golden op or case → why this device does not run it. */
  readonly skips?: Readonly<Record<string, string>>
  /** Op of the table → why this device does not run it. */
  readonly unsupported?: Readonly<Partial<Record<OpName, string>>>
  /** Whether it may refuse a case with this error: some are too large for a device of small limits. */
  mayRefuse?(e: unknown): boolean
}

type Abilities = Pick<DeviceRow, "f64" | "subnormals" | "share" | "corners">
const lacks = ({ f64 = true, subnormals = true }: Abilities): Lacks => ({ f64: !f64, subnormals: !subnormals })
/** What a device is tried with in place of these arguments. */
export const argumentsFor = <A>(entry: Abilities, args: A): A => without(lacks(entry), args)
/** The name under which devices that are tried with the same arguments share what is expected. */
export const sharedBy = (entry: Abilities, op: string): string => `${op} ${JSON.stringify([lacks(entry), entry.share, entry.corners])}`
/** How many random cases a device is tried with where others are with `few`: at least two, unless given. */
export const casesFor = ({ share = 1 }: Abilities, few: number, least = 2): number => Math.max(least, Math.round(few * share))
/** Which recorded cases a device is tried with: the first few of each kind. */
export function recordedFor<C>({ recorded = Infinity }: Pick<DeviceRow, "recorded">, cases: readonly C[], kindOf: (c: C) => string): readonly C[] {
  const seen = new Map<string, number>()
  return cases.filter((c) => {
    const kind = kindOf(c), n = (seen.get(kind) ?? 0) + 1
    seen.set(kind, n)
    return n <= recorded
  })
}
/** Which of an op's given cases a device is tried with. */
export const cornersFor = (entry: Abilities, given: readonly unknown[] = []): readonly unknown[] => given.slice(0, entry.corners).map((args) => argumentsFor(entry, args))
