import { fail, type Activations, type Weight } from "@thimble/core"
import { dialects, ggufTypeFor, isPermuted, refusesBlocks, showOutline, type DialectName, type MatrixUse, type Outline, type WriterOptions } from "@thimble/formats"
import { moduleName, architectureOf } from "../architecture.ts"
import type { Config, Role } from "../config.ts"
import { expectedTensors } from "../expected.ts"
import type { Model } from "../model.ts"
import { isTransposed } from "../tensors-safetensors.ts"
import { outlineOfWeight } from "./codes.ts"

/** What models are exported to: the dialects of quantized checkpoints, and GGUF files. */
export type ExportFormat = DialectName | "gguf"
/** What directories are meant to be read with; vLLM runs some matrices as one. */
export type ExportReader = "vllm" | "transformers"

/** A matrix of a model, what it is for, and what it is stored in. */
export interface Matrix { readonly path: string; readonly role: Role; readonly layer?: number; readonly use: MatrixUse; readonly weight: Weight; readonly outline: Outline | undefined }

/** What products of a weight see of their other operand. */
export const activationsOf = (weight: Weight): Activations => (isPermuted(weight) ? weight.permuted.stored : weight).activations ?? "f32"
/** As files could say it: that 32 neighbours share a scale is how a device computes. */
const roundedInputs = (weight: Weight): Pick<MatrixUse, "activations"> => {
  const a = activationsOf(weight)
  return a === "int8PerToken" ? { activations: a } : typeof a === "object" ? { activations: "stored" } : {}
}

/** The matrices of a model. */
export const matricesOf = ({ config, weights }: Model): Matrix[] => expectedTensors(config).filter((t) => t.kind === "matrix").map((t) => {
  const looked = t.role === "embedding" || t.role === "positions" || t.role === "segments", weight = weights[t.path]!
  return {
    path: t.path, role: t.role, weight, outline: outlineOfWeight(weight), ...(t.layer !== undefined && { layer: t.layer }),
    use: { embedding: looked, head: t.role === "head" || (t.role === "embedding" && config.tied), transposed: isTransposed(config, t), ...roundedInputs(weight) },
  }
})
export const isPlain = ({ weight }: Matrix): boolean => typeof weight.storage === "string"

/** The head that a model has without a matrix of its own. */
export function tiedHead(config: Config): readonly string[] {
  const a = architectureOf(config)
  return config.tied && a.names.head !== undefined ? [moduleName(a, "head")] : []
}

/** Whether a weight is of a type of GGUF files already. */
export function isBlocks({ storage }: Weight): boolean {
  try {
    return storage !== undefined && ggufTypeFor(storage) !== undefined
  } catch {
    return false
  }
}

/** Why a format cannot store a matrix; undefined if it can. */
export function whyNot(m: Matrix, format: ExportFormat, options: Partial<WriterOptions>): string | undefined {
  if (isPlain(m)) return undefined
  if (m.use.activations === "stored" && (format === "gguf" || dialects[format].activations !== true)) return "the scale of its activations has no place there"
  if (format === "gguf") return isBlocks(m.weight) ? undefined : m.outline ? refusesBlocks(m.outline) : undescribed(m)
  return m.outline ? dialects[format].refuses(m.outline, m.use, options) : undescribed(m)
}
const undescribed = ({ weight }: Matrix): string =>
  typeof weight.storage === "object" ? "it is no integers, small floats or codes of bitsandbytes in groups as checkpoints have them" : "it is made of several matrices"

/** Matrices that vLLM runs as one. */
const together: readonly (readonly Role[])[] = [["query", "key", "value"], ["gate", "up"]]
const settingOf = ({ outline, use }: Matrix): string => {
  if (outline === undefined) return "plain"
  const { shape: _, ...rest } = outline
  return JSON.stringify([rest, use.activations])
}

/** Why matrices do not fit, by module. */
export type Misfits = Map<string, string>

/** Refuses what a dialect cannot store, all of it in one error. */
export function checkFit(matrices: readonly Matrix[], format: ExportFormat, options: Partial<WriterOptions>, reader: ExportReader): void {
  const misfits: Misfits = new Map(), put = (m: Matrix, why: string | undefined): void => void (why !== undefined && !misfits.has(m.path) && misfits.set(m.path, why))
  for (const m of matrices) put(m, whyNot(m, format, options))
  if (format !== "gguf") {
    const packed = matrices.filter((m) => !isPlain(m) && m.outline !== undefined && !misfits.has(m.path)), { common } = dialects[format]
    if (common) {
      const counts = Map.groupBy(packed, (m) => common(m.outline!)), [most] = [...counts].sort(([, a], [, b]) => b.length - a.length)
      for (const m of packed) if (common(m.outline!) !== most![0]) put(m, `it has one setting for all matrices, and most are ${most![0]}`)
    }
    if (reader === "vllm" && format !== "mlx") {
      for (const layer of Map.groupBy(matrices.filter((m) => m.layer !== undefined), (m) => m.layer!).values())
        for (const roles of together) {
          const own = layer.filter((m) => roles.includes(m.role)), settings = new Set(own.map((m) => (isPlain(m) ? "plain" : settingOf(m))))
          if (settings.size > 1) for (const m of own) put(m, `vLLM runs ${own.map(({ path }) => path.slice(path.lastIndexOf(".") + 1)).join(", ")} as one, and they are stored in different ways`)
        }
    }
  }
  refuseMisfits(matrices, misfits, format)
}

/** One error for all matrices that do not fit: what each is, why it does not, and what could store it. */
export function refuseMisfits(matrices: readonly Matrix[], misfits: Misfits, format: ExportFormat): void {
  if (misfits.size === 0) return
  const others = [...(Object.keys(dialects) as DialectName[]), "gguf" as const].filter((name) => name !== format)
  const lines = matrices.filter((m) => misfits.has(m.path)).map((m) => {
    const could = isPlain(m) ? [] : others.filter((name) => whyNot(m, name, {}) === undefined)
    const what = isPlain(m) ? "" : m.outline ? ` (${showOutline(m.outline)})` : ` (${typeof m.weight.storage === "object" ? m.weight.storage.name : m.weight.form})`
    return `${m.path}${what}: ${misfits.get(m.path)!}${could.length > 0 ? ` [${could.join(", ")} could]` : ""}`
  })
  fail("value", "exportModel", `${format} cannot store ${lines.length === 1 ? "a weight" : `${lines.length} weights`}: ${lines.join("; ")}`, "quantize otherwise, keep dense, or export to a format that could")
}
