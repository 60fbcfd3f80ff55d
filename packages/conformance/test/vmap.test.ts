import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { grad, isFloat, referenceDevice, selectAt, stack, sum, vmap, type Device, type DType, type Tensor } from "@thimble/core"
import { devices } from "../src/devices.ts"
import { difference, evaluate, lossOf, magnitudeOf, type Result } from "../src/measure.ts"
import { holds } from "../src/runs.ts"
import { rows, type OpName } from "../src/table/index.ts"
import type { Row } from "../src/table/row.ts"
import { anything, differentiable, makeAll, Spec, specsOf } from "../src/table/spec.ts"

// A function mapped over examples gives what it gives for each of them, whatever op it is made of.

/** Why an op is not mapped, by what `vmap` says of it. */
const unmapped: Partial<Record<OpName, string>> = {
  tensor: "no argument is mapped", fromBytes: "no argument is mapped", full: "no argument is mapped", zeros: "no argument is mapped",
  ones: "no argument is mapped", arange: "no argument is mapped", linspace: "no argument is mapped", rotation: "no argument is mapped",
  nonzero: "the function must not be async", maskedSelect: "the function must not be async",
}
const mappable = rows.filter(([name]) => unmapped[name] === undefined)

/** Arguments of a row of which some are examples along an axis, others shared; how they are drawn depends on them alone. */
interface Mapping {
  readonly count: number
  readonly axis: 0 | -1
  /** Examples or not, and differentiated or not, by operand. */
  readonly mapped: readonly boolean[]
  readonly held: readonly boolean[]
  readonly operands: readonly Tensor[]
  readonly magnitude: number
  call(operands: readonly Tensor[]): readonly Tensor[]
  /** The operands of one example. */
  example(i: number): readonly Tensor[]
}
function mapping(row: Row, args: unknown, float?: DType): Mapping {
  const specs = specsOf(args), salt = specs.reduce((n, s) => n + s.seed, 0)
  const count = [3, 2, 1][salt % 3]!, axis = salt % 2 === 0 ? 0 : -1, few = Math.floor(salt / 6) % 3
  const mapped = specs.map((_, i) => few === 0 || specs.length === 1 || (i === 0) === (few === 1))
  const all = specs.map((s, i) => (mapped[i] ? new Spec(axis === 0 ? [count, ...s.shape] : [...s.shape, count], s.dtype, s) : s))
  const operands = all.map((s) => s.make(float))
  return {
    count, axis, mapped, operands, held: specs.map((s) => s.held), magnitude: magnitudeOf(all),
    call: (given) => {
      let next = 0
      const out = (row.call as (args: unknown) => ReturnType<Row["call"]>)(makeAll(args, () => given[next++]!))
      return (Array.isArray(out) || out instanceof Promise ? out : [out]) as readonly Tensor[]
    },
    example: (i) => operands.map((x, k) => (mapped[k] ? selectAt(x, axis, i) : x)),
  }
}
const axes = ({ mapped, axis }: Mapping): (number | null)[] => mapped.map((m) => (m ? axis : null))
/** Results of all examples, one by one, put together. */
function loop(m: Mapping, fn: (x: readonly Tensor[]) => readonly Tensor[], axis: number): Tensor[] {
  const each = Array.from({ length: m.count }, (_, i) => fn(m.example(i)))
  return each[0]!.map((_, k) => stack(each.map((y) => y[k]!), axis))
}
const firstFault = (got: readonly Result[], want: readonly Result[], bound: Row["bound"], magnitude: number): string | undefined =>
  got.length === want.length ? got.map((g, k) => difference(g, want[k]!, bound, magnitude)).find((d) => d !== undefined) : `${got.length} results instead of ${want.length}`
/** Compares pairs of results, two for each case. */
async function compare(device: Device, bound: Row["bound"], made: () => readonly (readonly [m: Mapping, got: readonly Tensor[], want: readonly Tensor[]])[]): Promise<(string | undefined)[]> {
  const magnitudes: number[] = []
  const results = await evaluate(device, async () => made().flatMap(([m, got, want]) => {
    magnitudes.push(m.magnitude)
    return [got, want]
  }))
  return magnitudes.map((magnitude, i) => firstFault(results[2 * i]!, results[2 * i + 1]!, bound, magnitude))
}

describe("ops that are not mapped say why", () => {
  for (const [name, row] of rows) {
    const reason = unmapped[name]
    if (reason !== undefined) test(name, () => holds(row.args(anything), 1, ([args]) => evaluate(referenceDevice(), async () => {
      const m = mapping(row, args)
      expect(() => vmap((...x: Tensor[]) => m.call(x), { inAxes: axes(m) })(...m.operands)).toThrow(`vmap: ${reason}`)
      return []
    }).then(() => [undefined])))
  }
})

describe.each(devices.slice(0, 2))("on $name", ({ name: on, open, unsupported = {} }) => {
  let device: Device
  beforeAll(async () => void (device = await open()))
  afterAll(() => device.close())

  for (const [name, row] of mappable) {
    if (unsupported[name] !== undefined) continue
    test(`${name}, mapped`, () => holds(row.args(anything), 8, (cases) => compare(device, row.bound, () => cases.map((args) => {
      const m = mapping(row, args)
      return [m, vmap((...x: Tensor[]) => m.call(x), { inAxes: axes(m), outAxes: m.axis })(...m.operands), loop(m, m.call, m.axis)]
    }))))

    if (typeof row.gradient !== "string") continue
    test(`${name}, gradients of examples, and of all at once`, () => holds(row.args(differentiable), 4, (cases) => {
      const float = on === "reference" ? "f64" : "f32"
      return compare(device, { scale: float === "f64" ? 1e-10 : 2e-5 }, () => cases.flatMap((args) => {
        const m = mapping(row, args, float)
        const floats = m.operands.flatMap((x, i) => (isFloat(x.dtype) && !m.held[i] ? [i] : []))
        const value = (...x: Tensor[]): Tensor | undefined => lossOf(m.call(x))
        const slopes = (x: readonly Tensor[]): Tensor[] => grad(value(...x)!, floats.map((i) => x[i]!))
        if (floats.length === 0 || value(...m.example(0)) === undefined) return []
        const want = loop(m, slopes, 0)
        const ofEach = vmap((...x: Tensor[]) => slopes(x), { inAxes: axes(m) })(...m.operands)
        const ofAll = grad(sum(vmap((...x: Tensor[]) => value(...x)!, { inAxes: axes(m) })(...m.operands)), floats.map((i) => m.operands[i]!))
        // What examples share has the sum of their gradients.
        const total = floats.map((i, k) => (m.mapped[i] ? want[k]!.moveAxis(0, m.axis) : sum(want[k]!, { axis: 0 })))
        return [[m, [...ofEach, ...ofAll], [...want, ...total]] as const]
      })).then((faults) => (faults.length === 0 ? cases.map(() => undefined) : faults))
    }))
  }
})
