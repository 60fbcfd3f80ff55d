import { decode, type DType } from "@thimble/core"
import { heldBy } from "../safetensors-header.ts"
import type { StoredActivations } from "./dialect.ts"
import { stored, type ModuleReader, type Settings, type StoredModule } from "./stored.ts"

// How compressed-tensors says that activations are rounded to int8, and where it has the scale that was found for them.

/** What config.json says: the `input_activations` of an entry of `config_groups`. */
export const activationScheme = (a: StoredActivations): Settings => {
  const given = typeof a === "object"
  return { num_bits: 8, type: "int", symmetric: !given || a.zero === undefined, strategy: given ? "tensor" : "token", group_size: null, block_structure: null, dynamic: !given, actorder: null, observer: given ? "minmax" : null, observer_kwargs: {} }
}

/** The tensors of a module that say it; none where scales are found as activations come. */
export const writeActivations = (a: StoredActivations | undefined): StoredModule =>
  typeof a !== "object" ? {} : { input_scale: stored("F32", [1], Float32Array.of(a.scale)), ...(a.zero !== undefined && { input_zero_point: stored("I8", [1], Int8Array.of(a.zero)) }) }

/** What products of a module see; undefined where that is nothing that integers here are multiplied with: 8-bit floats, other bits, groups. */
export function readActivations(from: ModuleReader, said: unknown): StoredActivations | undefined {
  if (typeof said !== "object" || said === null) return undefined
  const { num_bits: bits, type, strategy, dynamic, symmetric } = said as Settings
  if (bits !== 8 || type !== "int") return undefined
  if (strategy === "token" && dynamic === true && symmetric !== false) return "int8PerToken"
  if (strategy !== "tensor" || dynamic !== false) return undefined
  const { data, dtype } = one(from, "input_scale", ["F32", "F16", "BF16"]), scale = decode(heldBy(dtype) as DType, Number(data[0]))
  if (!(scale > 0 && scale < Infinity)) from.refuse(`has an 'input_scale' of ${scale}`)
  return symmetric === false ? { scale, zero: Number(one(from, "input_zero_point", ["I8"]).data[0]) } : { scale }
}

/** A tensor of one number, with an axis or without. */
function one(from: ModuleReader, name: string, types: Parameters<ModuleReader["take"]>[1]): ReturnType<ModuleReader["take"]> {
  const found = from.take(name, types)
  return found.data.length === 1 ? found : from.refuse(`has ${found.data.length} numbers in '${name}', not 1`)
}
