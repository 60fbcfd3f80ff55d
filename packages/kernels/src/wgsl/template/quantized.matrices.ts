// Many rows times a weight stored in integer codes, on matrices of subgroups: activations are rounded to int8 in blocks of 32
// where they are scaled, and codes become weights on their way to workgroup memory.
import { joinAcross, largest } from "./join.ts"
import { lanes } from "./matrices.ts"
import { block, divider, fewRows, perBlock, rateOf, type QuantizedSizes } from "./quantized.ts"
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
  const read = pass.read("x", 4, 1), divide = divider(pass, features)
  const joined = joinAcross(pass, features, { variables: ["amax"], group: perBlock, threads, how: largest, name: "mostOfBlock" })
  return {
    declarations: joined.declarations, source: (row, at) => `${read}(${row}, ${at})`,
    value: (row, at) => `var value = ${read}(${row}, ${at});
{
let size = abs(value);
var amax = max(max(size.x, size.y), max(size.z, size.w));
${joined.text}
value = round(value * ${rateOf(divide)}) * (${divide("amax", "127f")});
}`,
  }
}

function decoded(pass: PassHoles, { k, group, low, high }: QuantizedSizes, has: (operand: string) => boolean): Columns {
  const code = pass.read("code", lanes, 1), scale = pass.read("scale"), zero = has("zero") ? pass.read("zero") : undefined, min = has("min") ? pass.read("min") : undefined
  const groups = Math.ceil(k / group), reach = `${Math.max(Math.abs(low), Math.abs(high))}f`
  return {
    eight: (column, at) => `let codes = ${code}(${column}, ${at});
let g = ${groups === 1 ? "0" : `(${at}) / ${group / lanes}`};
let scale = vec4<f32>(${scale}(${column}, g));
${zero === undefined ? "" : `let zero = vec4<f32>(f32(${zero}(${column}, g)));`}
${["first", "second"].map((v, i) => `let ${v} = scale * ${zero === undefined ? `vec4<f32>(codes[${i}])` : `(vec4<f32>(codes[${i}]) - zero)`}${min === undefined ? "" : ` + ${min}(${column}, g)`};`).join("\n")}`,
    bounds: groups,
    bound: (column, i) => `let bits = mostOf(vec4<f32>(abs(${scale}(${column}, ${i})) * ${zero === undefined ? reach : `(${reach} + abs(f32(${zero}(${column}, ${i}))))`}${min === undefined ? "" : ` + abs(${min}(${column}, ${i}))`}));`,
  }
}
