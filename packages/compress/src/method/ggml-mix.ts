import { fail } from "@thimble/core"
import { ggufNames, type Config, type Model } from "@thimble/models"
import { ggml } from "../format/ggml.ts"
import type { QuantizedFormat } from "../quantizer.ts"
import { on, type Rule } from "../recipe/rules.ts"
import { rtn, type RtnOptions } from "./rtn.ts"

/** Types with an encoder. */
type Type = "Q2_K" | "Q3_K" | "Q4_K" | "Q5_K" | "Q6_K" | "Q4_0" | "Q4_1" | "Q5_0" | "Q5_1" | "Q8_0" | "IQ4_NL" | "IQ4_XS" | "F16"
/** Where a matrix is, as types are chosen by it. */
interface Place { readonly layer: number; readonly layers: number; readonly grouped: boolean; readonly imatrix: boolean }
type Choice = Type | ((place: Place) => Type)
interface Mix { readonly usual: Type; readonly value?: Choice; readonly output?: Choice; readonly down?: Choice }

/** The first and the last eighth of blocks, and every third between. */
const more = ({ layer, layers }: Place): boolean => {
  const eighth = Math.floor(layers / 8)
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2
}
const first = ({ layer, layers }: Place, share: number): boolean => layer < Math.floor(layers / share)

/** Names of llama.cpp's mixes. */
export type GgmlMix = "Q2_K" | "Q2_K_S" | "Q3_K_S" | "Q3_K_M" | "Q3_K_L" | "Q4_K_S" | "Q4_K_M" | "Q5_K_S" | "Q5_K_M" | "Q6_K" | "Q4_0" | "Q4_1" | "Q5_0" | "Q5_1" | "Q8_0" | "IQ4_NL" | "IQ4_XS"

/** llama-quantize's mixes: which type which matrix of a block has. Source: llama.cpp, src/llama-quant.cpp, llama_tensor_get_type_impl. */
const mixes: Readonly<Record<GgmlMix, Mix>> = {
  Q2_K: { usual: "Q2_K", value: (p) => (p.grouped ? "Q4_K" : "Q3_K"), down: "Q3_K", output: "Q3_K" },
  Q2_K_S: { usual: "Q2_K", value: (p) => (p.grouped ? "Q4_K" : "Q2_K"), down: (p) => (first(p, 8) ? "Q4_K" : "Q2_K") },
  Q3_K_S: { usual: "Q3_K" },
  Q3_K_M: { usual: "Q3_K", value: (p) => (p.layer < 2 ? "Q5_K" : "Q4_K"), down: (p) => (first(p, 16) ? "Q5_K" : "Q4_K"), output: "Q4_K" },
  Q3_K_L: { usual: "Q3_K", value: "Q5_K", down: "Q5_K", output: "Q5_K" },
  Q4_K_S: { usual: "Q4_K", value: (p) => (p.layer < 4 ? "Q5_K" : "Q4_K"), down: (p) => (first(p, 8) ? "Q5_K" : "Q4_K") },
  Q4_K_M: { usual: "Q4_K", value: (p) => (more(p) ? "Q6_K" : "Q4_K"), down: (p) => (more(p) ? "Q6_K" : "Q4_K") },
  Q5_K_S: { usual: "Q5_K" },
  Q5_K_M: { usual: "Q5_K", value: (p) => (more(p) ? "Q6_K" : "Q5_K"), down: (p) => (more(p) ? "Q6_K" : "Q5_K") },
  Q6_K: { usual: "Q6_K" },
  Q4_0: { usual: "Q4_0", down: (p) => (p.imatrix && first(p, 8) ? "Q4_1" : "Q4_0") },
  Q4_1: { usual: "Q4_1" },
  Q5_0: { usual: "Q5_0", down: (p) => (p.imatrix && first(p, 8) ? "Q5_1" : "Q5_0") },
  Q5_1: { usual: "Q5_1" },
  Q8_0: { usual: "Q8_0" },
  IQ4_NL: { usual: "IQ4_NL", value: (p) => (p.grouped ? "Q5_K" : "IQ4_NL"), down: (p) => (first(p, 8) && !p.imatrix ? "Q5_K" : "IQ4_NL") },
  IQ4_XS: { usual: "IQ4_XS", value: (p) => (p.grouped ? "Q5_K" : "IQ4_XS"), down: (p) => (first(p, 8) && !p.imatrix ? "Q5_K" : "IQ4_XS") },
}


/** What stands in for a type whose blocks do not divide rows; F16 where nothing does. */
const instead: Readonly<Partial<Record<Type, Type>>> = { Q2_K: "Q4_0", Q3_K: "Q4_0", Q4_K: "Q5_0", Q5_K: "Q5_1", Q6_K: "Q8_0", IQ4_XS: "IQ4_NL" }
const formatOf = (type: Type): QuantizedFormat => ggml[type] as QuantizedFormat
const divides = (type: Type, columns: number): boolean => columns % (formatOf(type).unit ?? 1) === 0

/**
 * A mix of llama.cpp's by its name, as rules for a model: all its matrices, embedding and head included, but not learned
 * positions. Rows that the blocks of a type do not divide have the type that llama.cpp falls back to. With `importance` encoders
 * weigh columns by calibration inputs, but for embeddings, which have none.
 */
export function ggmlMix(model: Pick<Model, "config" | "weights">, name: GgmlMix, { importance = "none" }: Pick<RtnOptions, "importance"> = {}): readonly Rule[] {
  const mix = (mixes as Partial<typeof mixes>)[name] ?? fail("value", "ggmlMix", `no mix is called '${String(name)}'`, Object.keys(mixes).join(", "))
  const { config } = model, names = ggufNames(config), tied = config.tied
  return Object.entries(model.weights).flatMap(([path, { shape }]): Rule[] => {
    const stored = names.get(`${path}.weight`) ?? fail("value", "ggmlMix", `${config.architecture} has no place for '${path}' in GGUF files`)
    if (/^(position_embd|token_types)\./.test(stored)) return []
    const type = typeOf(mix, stored, shape[1], config, importance !== "none"), embedding = stored === "token_embd.weight"
    return [on(path, rtn({ format: formatOf(type), importance: embedding && !tied ? "none" : importance }))]
  })
}

function typeOf(mix: Mix, stored: string, columns: number, { layers, heads, kvHeads, tied }: Config, imatrix: boolean): Type {
  const layer = Number(/^blk\.(\d+)\./.exec(stored)?.[1] ?? 0), place: Place = { layer, layers, grouped: heads / kvHeads >= 4, imatrix }
  const chosen = (choice: Choice | undefined): Type => (typeof choice === "function" ? choice(place) : (choice ?? mix.usual))
  const head = stored === "output.weight" || (tied && stored === "token_embd.weight")
  const wanted = head ? (!divides(mix.usual, columns) ? "Q8_0" : mix.usual === "Q8_0" ? "Q8_0" : "Q6_K")
    : /attn_(v|qkv)\.weight$/.test(stored) ? chosen(mix.value)
    : /attn_output\.weight$/.test(stored) ? chosen(mix.output)
    : /ffn_down\.weight$/.test(stored) ? chosen(mix.down)
    : mix.usual
  const type = divides(wanted, columns) ? wanted : (instead[wanted] ?? "F16")
  return divides(type, columns) ? type : "F16"
}
