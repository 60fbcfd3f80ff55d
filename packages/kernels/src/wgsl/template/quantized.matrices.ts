// Many rows times a weight stored in integer codes, on matrices of subgroups: activations are rounded to int8 in blocks of 32
// where they are scaled, and codes become weights on their way to workgroup memory.
import { lanes } from "./matrices.ts"
import { fewRows, type QuantizedSizes } from "./quantized.ts"
import { block, ofBlock } from "./rounding.ts"
import { bySplitMatrices, fitsSplit, threads, type Columns, type Rows } from "./split.matrices.ts"
import type { Features, Holes, PassHoles, Template } from "./holes.ts"

/** Columns below which tiles are mostly empty. */
const least = 32
/** Halves that a weight needs: codes times scales have more than eleven bits. */
const right = 2
const sizesOf = ({ m, k, n }: QuantizedSizes): { batch: number; m: number; k: number; n: number } => ({ batch: 1, m, k, n })

export const quantizedByMatrices: Template = {
  accepts(dims, features) {
    const sizes = dims as unknown as QuantizedSizes, { m, n, k, group } = sizes
    return m > fewRows && n >= least && k % block === 0 && group % lanes === 0 && fitsSplit(sizesOf(sizes), right, features)
  },
  passes({ dims, features, operands }: Holes) {
    const sizes = dims as unknown as QuantizedSizes, has = (name: string): boolean => operands[name] !== undefined
    return bySplitMatrices({
      sizes: sizesOf(sizes), features, right,
      rows: (pass) => rounded(pass, features), columns: (pass) => decoded(pass, sizes, has),
      // Rounding makes NaN of the whole block that an infinite activation is in, and so of the row; infinite scales times codes of 0 are NaN, too.
      exceptional: (pass) => () => `let exact = ${pass.math("special")}(0x7fc00000u);`,
      finish(pass) {
        const finish = pass.finish(4)
        return (row, group, value) => `${finish}(${row}, ${group}, ${value});`
      },
    })
  },
}

/** Rows rounded as core's definition of quantizedMatmul says. */
function rounded(pass: PassHoles, features: Features): Rows {
  const read = pass.read("x", 4, 1), scale = ofBlock(pass, features, threads)
  return {
    declarations: scale.declarations, source: (row, at) => `${read}(${row}, ${at})`,
    value: (source) => `var value = ${source};
{
let x = value;
${scale.text}
value = round(x * rate) * (${scale.step});
}`,
  }
}

function decoded(pass: PassHoles, { k, group, low, high }: QuantizedSizes, has: (operand: string) => boolean): Columns {
  const groups = Math.ceil(k / group), reach = `${Math.max(Math.abs(low), Math.abs(high))}f`, ofGroup = ["scale", "zero", "min"].filter((name) => name === "scale" || has(name))
  const [scale, zero, min] = ["scale", "zero", "min"].map((name) => (ofGroup.includes(name) ? pass.read(name) : undefined))
  const groupAt = (at: string): string => (groups === 1 ? "0" : `(${at}) / ${group / lanes}`)
  return {
    parts: [{ ahead: pass.ahead("code", lanes, 1), at: (column, at) => `${column}, ${at}` }, ...ofGroup.map((name) => ({ ahead: pass.ahead(name), at: (column: string, at: string) => `${column}, ${groupAt(at)}` }))],
    eight([codes, ...taken]) {
      const value = (name: string): string | undefined => taken[ofGroup.indexOf(name)]
      return `let codes = ${codes};
let scale = vec4<f32>(${value("scale")});
${zero === undefined ? "" : `let zero = vec4<f32>(f32(${value("zero")}));`}
${min === undefined ? "" : `let least = ${value("min")};`}
${["first", "second"].map((v, i) => `let ${v} = scale * ${zero === undefined ? `vec4<f32>(codes[${i}])` : `(vec4<f32>(codes[${i}]) - zero)`}${min === undefined ? "" : " + least"};`).join("\n")}`
    },
    bounds: groups,
    bound: (column, i) => `let bits = mostOf(vec4<f32>(abs(${scale}(${column}, ${i})) * ${zero === undefined ? reach : `(${reach} + abs(f32(${zero}(${column}, ${i}))))`}${min === undefined ? "" : ` + abs(${min}(${column}, ${i}))`}));`,
  }
}
