import type { Config } from "./config.ts"

/** More layers than any model has. What a file says is not believed without limit: the names of all tensors are listed. */
export const mostLayers = 10_000

/** What is wrong with a config, in words; nothing, if a model can be made of it. */
export function problemOf(config: Config): string | undefined {
  const { vocabulary, width, layers, heads, kvHeads, headSize, hidden, shapes, context, eps, rope, windows, scale, attentionCap, logitCap } = config
  for (const [name, n] of Object.entries({ vocabulary, width, layers, heads, kvHeads, headSize, hidden, context }))
    if (!(Number.isInteger(n) && n >= 1 && n < 2 ** 31)) return `${name} is ${n}, not a whole number from 1`
  if (layers > mostLayers) return `${layers} layers are more than ${mostLayers}`
  if (heads % kvHeads !== 0) return `${heads} heads are no multiple of ${kvHeads} heads of keys and values`
  if (shapes !== undefined) {
    if (shapes.length !== layers) return `${shapes.length} shapes are not one for each of ${layers} layers`
    for (const [layer, s] of shapes.entries()) {
      if (![s.heads, s.kvHeads, s.hidden].every((n) => Number.isInteger(n) && n >= 1 && n < 2 ** 31)) return `layer ${layer} has ${s.heads} heads, ${s.kvHeads} heads of keys and values and ${s.hidden} hidden features, not whole numbers from 1`
      if (s.heads % s.kvHeads !== 0) return `${s.heads} heads of layer ${layer} are no multiple of ${s.kvHeads} heads of keys and values`
    }
    if (shapes[0]!.heads !== heads || shapes[0]!.kvHeads !== kvHeads || shapes[0]!.hidden !== hidden) return `the shape of layer 0 is not that of the config`
  }
  if (!(eps >= 0 && eps < Infinity)) return `norms add ${eps} to the variance`
  for (const [name, n] of Object.entries({ scale, attentionCap, logitCap })) if (n !== undefined && !(n > 0 && n < Infinity)) return `${name} is ${n}, not positive`
  if (windows !== undefined && (windows.length !== layers || !windows.every((w) => Number.isInteger(w) && w >= 0))) return `windows [${windows.slice(0, 8).join(", ")}] are not one whole number for each of ${layers} layers`
  if (rope === undefined) return undefined
  const { base, features, scaling } = rope
  if (!(base > 0 && base < Infinity)) return `the base of rotary positions is ${base}`
  if (!(Number.isInteger(features) && features >= 2 && features % 2 === 0 && features <= headSize)) return `${features} of ${headSize} features turn, which are no pairs of them`
  const factors = scaling === undefined ? [] : Object.values(scaling).flat().filter((n) => typeof n === "number")
  const wrong = factors.find((n) => !(n > 0 && n < Infinity))
  return wrong === undefined ? undefined : `rotary positions are stretched by ${wrong}`
}
