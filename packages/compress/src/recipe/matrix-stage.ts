import { fail, showShape } from "@thimble/core"
import type { Method } from "./method.ts"
import { finds, patternToJson, showPattern, type Rule } from "./rules.ts"
import { runMatrices } from "./run-matrices.ts"
import type { Outline, OutlinedMatrix, PlanEntry, PlannedStage, Stage } from "./stage.ts"

export interface MatrixOptions {
  /** For the matrices of blocks that no rule finds; they stay as they are unless given. Embeddings and heads are left to rules. */
  readonly default?: Method
  /** Methods of single matrices; the first that finds one holds. */
  readonly rules?: readonly Rule[]
  /**
   * What a matrix is calibrated with: the model as it is rounded up to the matrices that come before it (`matrices`, unless
   * given), or up to the blocks before its own (`blocks`), which takes fewer passes.
   */
  readonly sequence?: "matrices" | "blocks"
}

/** A stage that treats the matrices of a model one by one. */
export function matrixStage(kind: string, options: MatrixOptions): Stage {
  const { rules = [], sequence = "matrices" } = options
  if (sequence !== "matrices" && sequence !== "blocks") fail("value", kind, `sequence must be matrices or blocks, got ${String(sequence)}`)
  if (options.default === undefined && rules.length === 0) fail("value", kind, "neither a default nor rules", `${kind}({ default: … })`)
  return {
    kind,
    toJSON: () => ({
      stage: kind, ...(options.default && { default: options.default.toJSON() }),
      rules: rules.map((r) => ({ pattern: patternToJson(r.pattern), method: r.method.toJSON() })), sequence,
    }),
    plan: (outline) => planMatrices(kind, outline, options),
  }
}

function planMatrices(kind: string, outline: Outline, { default: usual, rules = [], sequence = "matrices" }: MatrixOptions): PlannedStage {
  const methods = new Map<string, Method>(), entries: PlanEntry[] = [], unfit: string[] = [], used = new Set<Rule>()
  const matrices = new Map<string, OutlinedMatrix>(outline.matrices)
  for (const [path, m] of outline.matrices) {
    const seen = { path, shape: m.shape, ...(m.layer !== undefined && { layer: m.layer }) }
    for (const r of rules) if (finds(r.pattern, seen)) used.add(r)
    const rule = rules.find((r) => finds(r.pattern, seen)), method = rule?.method ?? (m.layer === undefined ? undefined : usual)
    if (method === undefined) continue
    const target = method.target(m.shape), why = rule === undefined ? "default" : showPattern(rule.pattern)
    if (target === undefined) entries.push({ path, shape: m.shape, method: method.name, from: m.format, to: m.format, bytesBefore: m.bytes, bytesAfter: m.bytes, why })
    else if (m.lookedUp === true && (method.observes?.length ?? 0) > 0) unfit.push(`${path} ${showShape(m.shape)}: ${method.name} looks at what a matrix is multiplied with, and rows of this one are only looked up`)
    else if ("unfit" in target) unfit.push(`${path} ${showShape(m.shape)}: ${target.unfit}`)
    else {
      const kept = typeof target.format === "string" ? target.format : target.format.name, to = target.rank === undefined ? kept : `${kept}, rank ${target.rank}`
      methods.set(path, method)
      entries.push({ path, shape: m.shape, method: method.name, from: m.format, to, bytesBefore: m.bytes, bytesAfter: target.bytes, why })
      matrices.set(path, { ...m, bytes: target.bytes, format: to })
    }
  }
  const idle = rules.filter((r) => !used.has(r)).map((r) => showPattern(r.pattern))
  if (idle.length > 0) fail("value", "plan", `these patterns find no matrix: ${idle.join(", ")}`, `the model's are ${[...outline.matrices.keys()].slice(0, 12).join(", ")}${outline.matrices.size > 12 ? ", …" : ""}`)
  if (unfit.length > 0) fail("shape", "plan", `these matrices do not fit what should be done with them:\n${unfit.join("\n")}`, "choose another method or format for them in a rule")
  const asking = [...new Set([...methods.values()].filter((m) => (m.observes?.length ?? 0) > 0 || m.balance !== undefined).map((m) => m.name))]
  return {
    kind, entries, after: { ...outline, matrices }, lazily: true,
    ...(asking.length > 0 && { needs: `${asking.join(", ")} look${asking.length === 1 ? "s" : ""} at the inputs of matrices` }),
    run: (model, context) => runMatrices(model, { methods, entries: new Map(entries.map((e) => [e.path, e])), sequence, calibrated: asking.length > 0 }, context),
  }
}

