import { fail } from "@thimble/core"
import { architectureOf, type Config, type Model } from "@thimble/models"
import { modelEdit, type EditOptions, type ModelEdit } from "./model-edit.ts"

/** A model whose norms multiply with nothing. */
export interface FoldedModel {
  readonly model: Model
  /** Names of the norms whose weights went into the matrices behind them. */
  readonly folded: readonly string[]
  /** Whether the head had to become a matrix of its own, apart from the embedding. */
  readonly untied: boolean
}

/** The same function with the weights of norms multiplied into the matrices that read them, and ones in their place (or zeros, where norms multiply with 1 + weight). */
export async function foldNorms(model: Model, options: EditOptions = {}): Promise<FoldedModel> {
  const { config, plan, folded, untied } = await foldPlan("foldNorms", model), edit = modelEdit(model, config)
  plan(edit)
  return { model: await edit.run(options), folded, untied }
}

/** What folding would change: matrices and vectors of an edit, and the config. */
export async function foldPlan(op: string, model: Model): Promise<{ readonly config: Config; readonly plan: (edit: ModelEdit) => void; readonly folded: readonly string[]; readonly untied: boolean }> {
  const a = architectureOf(model.config), plans: ((edit: ModelEdit) => void)[] = [], folded: string[] = []
  if (a.norm !== "rms") fail("value", op, `${a.name} has norms with a mean and a bias, which no matrix behind them takes over by itself`, "architectures whose norms divide by the root of the mean square")
  const plus = a.onePlus ? 1 : 0
  /** Plans to move a norm's weights into columns, unless there is nothing to move. */
  const fold = async (norm: string, into: readonly string[]): Promise<boolean> => {
    const name = `${norm}.weight`, weights = Float64Array.from((await model.vectors[name]!.data()) as Float32Array, (v) => v + plus)
    if (weights.every((v) => v === 1)) return false
    folded.push(name)
    plans.push((edit) => {
      edit.vector(name, (v) => void v.fill(1 - plus))
      for (const path of into) edit.matrix(path, (values, [, columns]) => values.forEach((v, i) => (values[i] = v * weights[i % columns]!)))
    })
    return true
  }
  for (const { links } of model.blocks())
    for (const { from, into } of links.fold) if (`${from.path}.weight` in model.vectors) await fold(from.path, into.map((p) => p.path))
  const { norm, embedding, head } = a.names, tied = model.config.tied
  const untied = norm !== undefined && head !== undefined && (await fold(norm, [head])) && tied
  return {
    config: untied ? { ...model.config, tied: false } : model.config, folded, untied,
    plan(edit) {
      if (untied) edit.copy(embedding!, head!)
      for (const p of plans) p(edit)
    },
  }
}
