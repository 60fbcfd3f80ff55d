import { fail } from "@thimble/core"
import { microGroup, type IntegerCodes, type Outline } from "./codes.ts"
import { activationScheme, readActivations, writeActivations } from "./compressed-activations.ts"
import { isSparse, readSparse, sparsityConfig, writeSparse, type SparseLayout } from "./compressed-sparse.ts"
import { readCompressed, unfitGroups, writeBytes, writeFloats, writeMicro, writePacked, type WeightScheme } from "./compressed-tensors.ts"
import type { CompressedLayout, Dialect, MatrixUse, StoredActivations, WriterOptions } from "./dialect.ts"
import { ModuleReader, names, type Settings, type StoredModule } from "./stored.ts"

// What config.json says of compressed-tensors: schemes, and the modules that each is for.

const op = "compressed-tensors"
const layouts: readonly string[] = ["pack-quantized", "int-quantized", "naive-quantized", "float-quantized", "mxfp4-pack-quantized", "nvfp4-pack-quantized", "mixed-precision", "dense"]

/** Whether a target names a module: by its class, its name, or an expression that names begin with. All matrices are of the class `Linear`. */
function isTarget(target: string, module: string): boolean {
  if (target.startsWith("re:")) return new RegExp(`^(?:${target.slice(3)})`).test(module)
  return target === "Linear" || target === module
}

/** A signed byte for each weight, a scale for each row: what products of 8-bit integers take. */
const areBytes = (o: Outline): boolean => o.kind === "integer" && o.bits === 8 && !o.zeros && o.group === Infinity

function layoutOf(o: Outline, { layout }: Partial<WriterOptions>, rounded: boolean): CompressedLayout {
  if (o.kind === "micro") return o.divided ? "nvfp4-pack-quantized" : "mxfp4-pack-quantized"
  return layout ?? (o.kind === "float" ? "float-quantized" : !rounded ? "pack-quantized" : areBytes(o) ? "int-quantized" : "naive-quantized")
}

function schemeOf(o: Outline): WeightScheme {
  if (o.kind === "integer") return { num_bits: o.bits, type: "int", symmetric: !o.zeros, strategy: o.group === Infinity ? "channel" : "group", group_size: o.group === Infinity ? null : o.group, block_structure: null, actorder: o.ordered ? "group" : null }
  if (o.kind === "micro") return { num_bits: 4, type: "float", symmetric: true, strategy: o.divided ? "tensor_group" : "group", group_size: microGroup(o.divided), block_structure: null, actorder: null, scale_dtype: o.divided ? "torch.float8_e4m3fn" : "torch.uint8" }
  if (o.kind !== "float") return fail("internal", op, `no scheme for ${o.kind}`)
  const [rows, columns] = o.block
  const strategy = columns === Infinity ? (rows === 1 ? "channel" : "tensor") : rows === 1 ? "group" : "block"
  return { num_bits: 8, type: "float", symmetric: true, strategy, group_size: strategy === "group" ? columns : null, block_structure: strategy === "block" ? [rows, columns] : null, actorder: null }
}

function refuses(o: Outline, { embedding, transposed, activations }: MatrixUse, options: Partial<WriterOptions> = {}): string | undefined {
  if (embedding) return "embeddings stay floats"
  if (transposed) return "modules that store weights as [in, out] are none of its targets"
  if (activations !== undefined && o.kind !== "integer") return "activations are rounded to int8 beside integers there"
  const layout = layoutOf(o, options, activations !== undefined)
  if (o.kind === "float") return layout !== "float-quantized" ? `${layout} holds integers` : o.block[0] === 1 && o.block[1] !== Infinity ? "8-bit floats have a scale per matrix, row or block there" : undefined
  if (o.kind === "micro") return options.layout !== undefined && options.layout !== layout ? `${options.layout} holds no 4-bit floats` : undefined
  if (o.kind === "sparse") return undefined
  if (o.kind !== "integer") return "it holds integers or small floats with scales"
  if (layout.endsWith("fp4-pack-quantized")) return `${layout} holds 4-bit floats`
  if (layout === "float-quantized") return "float-quantized holds 8-bit floats"
  if (o.mins) return "groups have zero points there, and no minima"
  if (layout === "pack-quantized" && activations !== undefined) return "pack-quantized is for activations that stay floats"
  if (layout === "int-quantized" && !areBytes(o)) return "int-quantized holds 8 bits with a scale per row and no zero points"
  return unfitGroups(o)
}

/** vLLM's compressed-tensors: packed or plain integers, and small floats; and whether integers see their activations rounded to int8. */
export const compressedDialect: Dialect = {
  name: "compressed-tensors",
  fields: ["quantization_config"],
  activations: true,
  suffixes: ["weight", "weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx", "weight_global_scale", "input_global_scale", "input_scale", "input_zero_point", "output_scale", "output_zero_point", "compressed", "bitmask", "shape", "row_offsets"],
  // Scales of caches in fewer bits.
  ignored: /\.[qkv]_scale$/,
  isPacked: (types) => types.weight_packed !== undefined || (types.compressed !== undefined && types.bitmask !== undefined) || types.weight === "I8" || types.weight === "F8_E4M3",
  reader(said) {
    const format = said.format ?? "dense"
    if (!layouts.includes(String(format))) fail("format", op, `quantization_config: 'format' is ${JSON.stringify(format)}`, `known are ${layouts.join(", ")}`)
    const groups = Object.entries((said.config_groups ?? {}) as Record<string, Settings>).map(([name, group]) => ({ targets: names(op, group, "targets"), scheme: checkScheme(name, group.weights), inputs: group.input_activations }))
    const ignored = names(op, said, "ignore"), isSparseModule = sparseTargets(said.sparsity_config)
    const groupOf = (module: string): (typeof groups)[number] => {
      // An entry that names the module goes before one for its class.
      const fit = groups.filter(({ targets }) => targets.some((t) => isTarget(t, module))), own = fit.find(({ targets }) => targets.some((t) => t !== "Linear" && isTarget(t, module))) ?? fit[0]
      return own ?? fail("format", op, `quantization_config: no target of 'config_groups' is '${module}'`)
    }
    return {
      isKept: (module) => !isSparseModule(module) && ignored.some((target) => isTarget(target, module)),
      read: (module, tensors, shape) => (isSparse(tensors) ? readSparse(module, tensors, shape) : readCompressed(module, tensors, shape, groupOf(module).scheme)),
      activations(module, tensors) {
        if (isSparse(tensors)) return undefined
        const { scheme, inputs } = groupOf(module)
        return scheme.type === "int" ? readActivations(new ModuleReader(op, module, tensors), inputs) : undefined
      },
    }
  },
  refuses,
  writer({ packed, kept, activations }, options) {
    const sparse = [...packed].flatMap(([module, o]) => (o.kind === "sparse" ? [[module, o.pairs] as const] : [])), layoutOfSparse: SparseLayout = sparse.every(([, pairs]) => pairs) ? "sparse-24-bitmask" : "sparse-bitmask"
    /** Zeros and elements of sparse modules, as they are written. */
    const counts = new Map<string, readonly [zeros: number, all: number]>()
    const groups = new Map<string, { readonly layout: CompressedLayout; readonly scheme: WeightScheme; readonly inputs: Settings | null; readonly targets: string[] }>()
    for (const [module, o] of packed) {
      if (o.kind === "sparse") continue
      const own: StoredActivations | undefined = activations?.get(module), layout = layoutOf(o, options, own !== undefined), scheme = schemeOf(o)
      // Whole rows of bytes are for products of integers.
      const seen = own ?? (layout === "int-quantized" ? "int8PerToken" : undefined), inputs = seen === undefined ? null : activationScheme(seen)
      const key = JSON.stringify([layout, scheme, inputs]), group = groups.get(key) ?? { layout, scheme, inputs, targets: [] }
      group.targets.push(module)
      groups.set(key, group)
    }
    const all = [...groups.values()], formats = new Set(all.map((g) => g.layout))
    const layoutOfModule = new Map(all.flatMap(({ layout, targets }) => targets.map((t) => [t, layout])))
    const quantized: Settings = {
      format: formats.size > 1 ? "mixed-precision" : (all[0]?.layout ?? "dense"), quantization_status: "compressed", global_compression_ratio: null, kv_cache_scheme: null, ignore: kept,
      config_groups: Object.fromEntries(all.map(({ layout, scheme, inputs, targets }, i) => [`group_${i}`, {
        targets: all.length === 1 ? ["Linear"] : targets, ...(formats.size > 1 && { format: layout }),
        weights: { ...scheme, dynamic: false, observer: "minmax", observer_kwargs: {} },
        input_activations: inputs, output_activations: null,
      }])),
    }
    return {
      // A checkpoint of which nothing is quantized says nothing of that: readers take any word for it.
      get settings() {
        if (sparse.length === 0) return { quant_method: op, ...quantized }
        const [zeros, elements] = [...counts.values()].reduce(([a, b], [c, d]) => [a + c, b + d], [0, 0]), names = new Set(sparse.map(([module]) => module))
        return { quant_method: op, ...(all.length > 0 && { ...quantized, ignore: [...kept, ...names] }), sparsity_config: sparsityConfig(layoutOfSparse, elements === 0 ? 0 : zeros / elements, [...kept, ...[...packed.keys()].filter((m) => !names.has(m))]) }
      },
      write(module, codes) {
        if (codes.kind === "sparse") {
          const written = writeSparse(module, codes.values, layoutOfSparse), all = codes.values.data.length
          counts.set(module, [all - written.compressed!.data.length, all])
          return written
        }
        if (codes.kind === "float") return writeFloats(codes)
        if (codes.kind === "micro") return writeMicro(module, codes)
        if (codes.kind !== "integer") return fail("value", op, `'${module}' is ${codes.kind}, neither integers nor floats`)
        const own: StoredModule = layoutOfModule.get(module) === "pack-quantized" ? writePacked(module, codes) : writeBytes(module, codes as IntegerCodes)
        return { ...own, ...writeActivations(activations?.get(module)) }
      },
    }
  },
}

/** Tells the modules that are stored without their zeros, by a `sparsity_config`. */
function sparseTargets(said: unknown): (module: string) => boolean {
  if (said === undefined || said === null) return () => false
  const own = (typeof said === "object" ? said : fail("format", op, "quantization_config: 'sparsity_config' is no object")) as Settings, format = own.format ?? "dense"
  if (!["dense", "sparse-bitmask", "sparse-24-bitmask"].includes(String(format))) fail("format", op, `quantization_config: 'format' of 'sparsity_config' is ${JSON.stringify(format)}`, "known are dense, sparse-bitmask, sparse-24-bitmask")
  // Without targets, all.
  const ignored = names(op, own, "ignore"), targets = own.targets === undefined || own.targets === null ? ["Linear"] : names(op, own, "targets")
  return (module) => format !== "dense" && targets.some((t) => isTarget(t, module)) && !ignored.some((t) => isTarget(t, module))
}

function checkScheme(name: string, weights: unknown): WeightScheme {
  const w = (typeof weights === "object" && weights !== null ? weights : fail("format", op, `quantization_config: '${name}' says nothing of weights`)) as Settings
  const refuse = (key: string): never => fail("format", op, `quantization_config: '${key}' of '${name}' is ${JSON.stringify(w[key])}`)
  if (!(Number.isInteger(w.num_bits) && (w.num_bits as number) >= 1 && (w.num_bits as number) <= 8)) refuse("num_bits")
  if (w.type !== "int" && w.type !== "float") refuse("type")
  if (!["group", "tensor_group", "channel", "tensor", "block"].includes(w.strategy as string)) refuse("strategy")
  const size = (v: unknown): boolean => Number.isInteger(v) && (v as number) >= 1
  if ((w.strategy === "group" || w.strategy === "tensor_group") && !size(w.group_size)) refuse("group_size")
  if (w.strategy === "block" && !(Array.isArray(w.block_structure) && w.block_structure.length === 2 && w.block_structure.every(size))) refuse("block_structure")
  return { num_bits: w.num_bits as WeightScheme["num_bits"], type: w.type as "int", symmetric: w.symmetric !== false, strategy: w.strategy as "group", group_size: (w.group_size as number | null) ?? null, block_structure: (w.block_structure as [number, number] | null) ?? null }
}
