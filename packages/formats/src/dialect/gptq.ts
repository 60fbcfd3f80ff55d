import { fail } from "@thimble/core"
import { groupsOf, plainGroups, turned, turnedPart, type IntegerCodes, type IntegerOutline, type MatrixShape, type Outline } from "./codes.ts"
import { mostCommon, type Dialect, type MatrixUse, type Plan } from "./dialect.ts"
import { chosen, groupSize, ModuleReader, stored, storedPart, type Settings, type StoredModule } from "./stored.ts"
import { packWords, unpackWords } from "./words.ts"

/** Bits of codes that GPTQ checkpoints can have. */
export type GptqBits = 2 | 3 | 4 | 8
const widths: readonly GptqBits[] = [2, 3, 4, 8]
/** What stored zero points are: z − 1 in v1, z in v2. */
export type GptqVersion = 1 | 2

export interface GptqOptions { readonly version: GptqVersion }
export interface GptqReadOptions extends GptqOptions {
  /** Neighbours that share a scale, where no g_idx says otherwise; Infinity for whole rows. */
  readonly group: number
  /** Whether zero points in the middle are what the checkpoint leaves unsaid. */
  readonly symmetric: boolean
}

const middle = (bits: number): number => 2 ** (bits - 1)

/**
 * Ones in all fields of a word, which v1 takes off as from a number: a zero point of 0 borrows from its neighbour, and gets it
 * back. Fields of 3 bits are counted one by one. Source: GPTQModel, convert_gptq_v2_to_v1_format.
 */
const ones: Readonly<Record<GptqBits, number>> = { 2: 0x55555555, 3: 0, 4: 0x11111111, 8: 0x01010101 }

function packZeros(zeros: Uint8Array, lines: number, length: number, bits: GptqBits, version: GptqVersion): Int32Array {
  if (version === 2) return packWords(zeros, lines, length, bits)
  if (bits === 3) return packWords(zeros.map((z) => (z - 1) & 7), lines, length, bits)
  return packWords(zeros, lines, length, bits).map((word) => word - ones[bits])
}
function unpackZeros(words: Int32Array, lines: number, length: number, bits: GptqBits, version: GptqVersion): Uint8Array {
  if (version === 2) return unpackWords(words, lines, length, bits)
  return bits === 3 ? unpackWords(words, lines, length, bits).map((z) => (z + 1) & 7) : unpackWords(words.map((word) => word + ones[bits]), lines, length, bits)
}

/** Why sizes do not fit words and groups. */
function unfit({ shape: [rows, columns], bits, group }: Pick<IntegerOutline, "shape" | "bits" | "group">): string | undefined {
  if ((columns * bits) % 32 !== 0) return `${columns} columns of ${bits} bits end within a word of 32`
  if ((rows * bits) % 32 !== 0) return `${rows} rows of ${bits} bits end within a word of 32, in which zero points are packed`
  return group !== Infinity && columns % group !== 0 ? `groups of ${group} do not divide ${columns} columns` : undefined
}

/** The tensors of a module: qweight and qzeros are packed along the inputs and outputs, scales are [groups, out]. */
export function writeGptq(module: string, codes: IntegerCodes<GptqBits>, { version }: GptqOptions): StoredModule {
  const { bits, shape: [rows, columns], group, groupOf } = codes, groups = codes.scales.shape[1]!
  const problem = widths.includes(bits) ? (unfit(codes) ?? (codes.mins ? "there are minima, and no zero points" : undefined)) : `there are ${bits as number} bits`
  if (problem !== undefined) fail("shape", "gptq", `'${module}' cannot be stored: ${problem}`, "another group, or keep it dense")
  const zeros = codes.zeros ?? new Uint8Array(rows * groups).fill(middle(bits))
  return {
    qweight: stored("I32", [(columns * bits) / 32, rows], turned(packWords(codes.codes, rows, columns, bits), rows, (columns * bits) / 32)),
    qzeros: stored("I32", [groups, (rows * bits) / 32], packZeros(turned(zeros, rows, groups), groups, rows, bits, version)),
    scales: storedPart(turnedPart(codes.scales)),
    g_idx: stored("I32", [columns], groupOf ?? plainGroups(columns, group)),
  }
}

/** Codes of a module [out, in]; bits are told by the size of its words. */
export function readGptq(module: string, tensors: StoredModule, shape: MatrixShape, { version, group, symmetric }: GptqReadOptions): IntegerCodes<GptqBits> {
  const from = new ModuleReader("gptq", module, tensors), [rows, columns] = shape
  const packed = from.take("qweight", ["I32"], [-1, rows]), bits = widths.find((b) => b * columns === packed.shape[0]! * 32)
  if (bits === undefined) return from.refuse(`has ${packed.shape[0]} words for ${columns} columns`, "codes have 2, 3, 4 or 8 bits, and fill their words")
  if ((rows * bits) % 32 !== 0) from.refuse(`has ${rows} rows, whose zero points do not fill their words`)
  const floats = from.floats("scales", [-1, rows]), groups = floats.shape[0]!, plain = plainGroups(columns, group)
  const order = from.has("g_idx") ? from.words("g_idx", [columns]) : plain
  if (order.some((g) => g < 0 || g >= groups)) from.refuse(`has a 'g_idx' that goes beyond ${groups} groups`)
  const isPlain = order.every((g, c) => g === plain[c])
  if (isPlain && groups !== groupsOf(columns, group)) from.refuse(`has ${groups} groups for ${columns} columns`, `its group_size is ${group}`)
  const zeros = turned(unpackZeros(from.words("qzeros", [groups, (rows * bits) / 32]), groups, rows, bits, version), groups, rows)
  return {
    kind: "integer", bits, shape, group, scales: turnedPart(floats),
    codes: unpackWords(turned(packed.data as Int32Array, (columns * bits) / 32, rows), rows, columns, bits),
    ...(!(symmetric && zeros.every((z) => z === middle(bits))) && { zeros }),
    ...(!isPlain && { groupOf: order }),
  }
}

function refuses(o: Outline, { embedding, head }: MatrixUse): string | undefined {
  if (embedding) return head ? "embeddings that are also the head stay floats" : "embeddings stay floats"
  if (o.kind !== "integer") return "it holds integers with a scale per group"
  if (!widths.includes(o.bits as GptqBits)) return `it holds 2, 3, 4 or 8 bits, not ${o.bits}`
  if (o.mins) return "groups have zero points there, and no minima"
  return o.scales === "f16" ? unfit(o) : `scales are f16 there, not ${o.scales}`
}

interface GptqSettings { readonly bits: number; readonly group_size: number; readonly desc_act: boolean; readonly sym: boolean }
const settingsOf = ({ bits, group, ordered, zeros }: IntegerOutline): GptqSettings => ({ bits, group_size: group === Infinity ? -1 : group, desc_act: ordered, sym: !zeros })
const exactly = (module: string): string => `^${module.replaceAll(".", "\\.")}$`
/** A module, and the one that vLLM makes of it and its neighbours: it looks for rules by that name. */
const namesOf = (module: string): string[] => [...new Set([module, module.replace(/\.[qkv]_proj$/, ".qkv_proj").replace(/\.(gate|up)_proj$/, ".gate_up_proj")])]

/** What config.json says of all modules, and of those that differ (GPTQModel's `dynamic`). */
function settings({ packed, kept }: Plan, version: GptqVersion): Settings {
  const all = [...packed].map(([module, o]) => ({ module, own: settingsOf(o as IntegerOutline) }))
  const bulk = mostCommon(all, ({ own }) => `${own.bits} ${own.group_size}`)?.own ?? { bits: 4, group_size: 128, desc_act: false, sym: true }
  const rest = all.filter(({ own }) => own.bits !== bulk.bits || own.group_size !== bulk.group_size), same = all.filter((m) => !rest.includes(m))
  const within = (module: string): string | undefined => /\.\d+\.(.+)$/.exec(module)?.[1]
  const packedNames = new Set([...packed.keys()].map(within)), keptInBlocks = kept.filter((m) => within(m) !== undefined), keptNames = new Set(keptInBlocks.map(within))
  // Blocks that are all alike are told by the names that are packed in them.
  const alike = ![...keptNames].some((n) => packedNames.has(n))
  const dynamic = {
    ...Object.fromEntries((alike ? [] : keptInBlocks).flatMap((m) => namesOf(m).map((name) => [`-:${exactly(name)}`, {}]))),
    ...Object.fromEntries(rest.flatMap(({ module, own }) => namesOf(module).map((name) => [`+:${exactly(name)}`, own]))),
  }
  return {
    quant_method: "gptq", bits: bulk.bits, group_size: bulk.group_size,
    desc_act: same.some(({ own }) => own.desc_act), sym: same.every(({ own }) => own.sym),
    checkpoint_format: version === 1 ? "gptq" : "gptq_v2",
    lm_head: all.some(({ module }) => within(module) === undefined),
    modules_in_block_to_quantize: alike && keptInBlocks.length > 0 ? [[...packedNames].filter((n) => n !== undefined)] : null,
    ...(Object.keys(dynamic).length > 0 && { dynamic }),
  }
}

/** AutoGPTQ's and GPTQModel's checkpoints. */
export function gptqDialect(version: GptqVersion): Dialect {
  const own = version === 1 ? "gptq" : "gptq_v2"
  return {
    name: own,
    fields: ["quantization_config"],
    suffixes: ["qweight", "qzeros", "scales", "g_idx"],
    isPacked: (types) => types.qweight !== undefined,
    reader(said) {
      const format = chosen(own, said, "checkpoint_format", ["gptq", "gptq_v2"], "gptq"), bits = chosen(own, said, "bits", widths)
      const group = groupSize(own, said, "group_size", -1), symmetric = said.sym !== false, dynamic = Object.entries((said.dynamic ?? {}) as Record<string, Settings>)
      const rule = (module: string): readonly [string, Settings] | undefined => dynamic.find(([pattern]) => new RegExp(pattern.replace(/^[+-]:/, "")).test(module))
      return {
        isKept: (module) => rule(module)?.[0].startsWith("-:") ?? false,
        read(module, tensors, shape) {
          const other = rule(module)?.[1] ?? {}
          const codes = readGptq(module, tensors, shape, {
            version: format === "gptq" ? 1 : 2, group: groupSize(own, { group, ...other }, "group_size", group === Infinity ? -1 : group), symmetric: (other.sym ?? symmetric) === true,
          })
          const wanted = other.bits ?? bits
          return codes.bits === wanted ? codes : fail("format", own, `'${module}' has words for ${codes.bits} bits, and the settings say ${String(wanted)}`)
        },
      }
    },
    refuses,
    writer(plan, _) {
      const said = settings(plan, version)
      return {
        settings: said,
        // Where libraries looked before config.json had it.
        files: { "quantize_config.json": said },
        write(module, codes) {
          if (codes.kind !== "integer") return fail("value", own, `'${module}' is ${codes.kind}, not integers`)
          // Readers that add 1 to a stored 2ᵇ − 1 without masking it take 0 for 2ᵇ.
          if (version === 1 && codes.zeros?.includes(0)) fail("value", own, `'${module}' has zero points of 0, which readers of this version mistake`, "gptq_v2 stores them as they are")
          return writeGptq(module, codes as IntegerCodes<GptqBits>, { version })
        },
      }
    },
  }
}
