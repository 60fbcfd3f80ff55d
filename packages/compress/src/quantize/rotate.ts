import { fail } from "@thimble/core"
import { architectureOf, type Block, type Config, type Model, type Part } from "@thimble/models"
import { foldPlan } from "./fold-norms.ts"
import { modelEdit, type Change, type EditOptions, type ModelEdit } from "./model-edit.ts"
import { rotation, type Rotation, type RotationKind } from "./rotation.ts"

export interface RotateOptions extends EditOptions {
  /** Which orthogonal matrices; `randomHadamard` unless given. */
  readonly kind?: RotationKind
  /** Where they come from; 0 unless given. */
  readonly seed?: number
  /**
   * What is rotated: the residual `stream`, between the embedding and the head, and what each of the `heads` takes from
   * values to the output; both unless given.
   */
  readonly parts?: readonly ("stream" | "heads")[]
}

/** Which matrix was used; see {@link Rotation}. */
export type RotationChoice = Pick<Rotation, "size" | "hadamard" | "orthogonal" | "signs">
export interface RotatedModel {
  readonly model: Model
  readonly stream?: RotationChoice
  readonly heads?: RotationChoice
  /** Names of norms whose weights were folded, and whether the head had to part from the embedding for it. */
  readonly folded: readonly string[]
  readonly untied: boolean
}

/**
 * The same model in other coordinates, in which no feature stands out, so that weights and activations are easier to round:
 * everything that writes to the residual stream writes x·Q, and everything that reads it reads with Q. The logits are the
 * same but for rounding to f32, in which all matrices are stored. Source: Ashkboos et al., QuaRot, arXiv 2404.00456
 * (rotations that cost nothing when the model runs).
 */
export async function rotate(model: Model, { kind = "randomHadamard", seed = 0, parts = ["stream", "heads"], ...options }: RotateOptions = {}): Promise<RotatedModel> {
  const wrong = parts.find((p) => p !== "stream" && p !== "heads")
  if (wrong !== undefined || parts.length === 0) fail("value", "rotate", `parts are stream, heads or both, got ${parts.length === 0 ? "none" : String(wrong)}`)
  const stream = parts.includes("stream") ? rotation(model.config.width, { kind, seed }) : undefined
  const heads = parts.includes("heads") ? rotation(model.config.headSize, { kind, seed: seed + 1 }) : undefined
  if (stream) refuseStream("rotate", model.config, 'rotate only heads: { parts: ["heads"] }')
  const { config, plan, folded, untied } = stream ? await foldPlan("rotate", model) : { config: model.config, plan: () => {}, folded: [], untied: false }
  const edit = modelEdit(model, config)
  plan(edit)
  if (stream) rotateStream(model, stream, edit, config.tied)
  if (heads) for (const block of model.blocks()) rotateHeads(block, heads, edit)
  return { model: await edit.run(options), ...(stream && { stream: chosen(stream) }), ...(heads && { heads: chosen(heads) }), folded, untied }
}

const chosen = ({ size, hadamard, orthogonal, signs }: Rotation): RotationChoice => ({ size, hadamard, orthogonal, signs })

/** Says why the stream of an architecture cannot be written in other coordinates, if so. */
export function refuseStream(op: string, config: Config, hint?: string): void {
  const a = architectureOf(config)
  const say = (why: string): never => fail("value", op, `the stream of ${a.name} cannot be rotated: ${why}`, hint)
  if (a.postNorm) say("it comes out of norms that multiply feature by feature")
  if (a.norm !== "rms") say("its norms subtract the mean of all features, which depends on the coordinates")
  const after = a.block.attentionPostNorm ?? a.block.feedPostNorm
  if (after !== undefined) say(`a norm, ${after}, multiplies what blocks add to it feature by feature`)
}

function rotateStream(model: Model, q: Rotation, edit: ModelEdit, tied: boolean): void {
  changeStream(model, tied, edit, { rows: (values) => q.apply(values), columns: (values, shape) => columnwise(values, shape, q), bias: (v) => q.apply(v) })
}

/** What is done with the matrices beside the stream: with the rows of those that read it, the columns of those that write to it, and their biases. */
export interface StreamChange { readonly rows: Change; readonly columns: Change; readonly bias: (values: Float64Array) => void | Float64Array }

/** Asks for a change of all matrices beside the residual stream. */
export function changeStream(model: Model, tied: boolean, edit: ModelEdit, change: StreamChange): void {
  const a = architectureOf(model.config), { embedding, positions, segments, head } = a.names
  // Rows of the embedding and of the head are in the coordinates of the stream, and so are rows of what reads it.
  for (const path of [embedding, positions, segments, ...(tied ? [] : [head])]) if (path !== undefined) edit.matrix(path, change.rows)
  for (const { path, links, linears } of model.blocks()) {
    const readers = new Set(links.fold.filter(({ from }) => `${from.path}.weight` in model.vectors).flatMap(({ into }) => into.map((p) => p.path)))
    const writers = new Set(links.channels.flatMap(({ columns }) => columns.map((c) => c.path)))
    const lost = linears.filter((name) => readers.has(name) === writers.has(name))
    if (lost.length > 0) fail("internal", "rotate", `the links of ${path} do not say what ${lost.join(", ")} reads and writes`)
    for (const name of readers) edit.matrix(name, change.rows)
    for (const name of writers) {
      edit.matrix(name, change.columns)
      edit.vector(`${name}.bias`, change.bias)
    }
  }
}

/** W ← Qᵀ·W: each column is a row of its own for Q. */
function columnwise(values: Float64Array, [rows, columns]: readonly [number, number], q: Rotation, at = (i: number): number => i * columns): void {
  const turned = new Float64Array(rows * columns)
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) turned[c * rows + r] = values[at(r) + c]!
  q.apply(turned)
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) values[at(r) + c] = turned[c * rows + r]!
}

/** Values of each head come out as v·Q, and the output's columns expect that: what attention sums is linear in values. */
function rotateHeads({ links }: Block, q: Rotation, edit: ModelEdit): void {
  const outputs = links.channels.filter(({ name }) => name === "heads").flatMap(({ columns }) => columns.map((c) => c.path))
  const values = links.fold.find(({ from, into }) => into.some((p) => outputs.includes(p.path)) && !outputs.includes(from.path))
  if (values === undefined) return fail("internal", "rotate", `no link leads from values to ${outputs.join(", ")}`)
  const rowsOf = ({ rows }: Part, all: number): number[] => (rows ?? [[0, all]]).flatMap(([begin, end]) => Array.from({ length: end - begin }, (_, i) => begin + i))
  edit.matrix(values.from.path, (w, [all, columns]) => {
    const rows = rowsOf(values.from, all)
    for (let first = 0; first < rows.length; first += q.size) columnwise(w, [q.size, columns], q, (i) => rows[first + i]! * columns)
  })
  edit.vector(`${values.from.path}.bias`, (bias) => {
    const rows = rowsOf(values.from, bias.length), own = Float64Array.from(rows, (r) => bias[r]!)
    q.apply(own)
    rows.forEach((r, i) => (bias[r] = own[i]!))
  })
  for (const path of outputs) edit.matrix(path, (w) => q.apply(w))
}
