// Few rows times a weight stored in integer codes. A group of threads takes some rows of W; each thread rounds a block of
// 32 activations to int8 itself, and multiplies it with its blocks of those rows: that costs less than another pass.
import { fixedSubgroup, joinAcross } from "./join.ts"
import type { Features, Holes, Lanes, PassHoles, PassText, Template } from "./holes.ts"

/** Neighbours that share an activation scale; as in core's definition of quantizedMatmul. */
const block = 32
const threads = 128
/** Groups of threads from which a large adapter is busy. */
const manyGroups = 1024

interface Sizes { readonly m: number; readonly k: number; readonly n: number; readonly group: number; readonly low: number; readonly high: number }

export const quantizedMatmul: Template = {
  accepts: (dims, features) => {
    const { m, k, group, low, high } = dims as unknown as Sizes
    return features.packedDot && features.threads >= threads && m <= 8 && k % block === 0 && (group % block === 0 || group === block / 2) && low >= -128 && high <= 127
  },
  passes({ dims, operands, features }: Holes) {
    const { m, k, n } = dims as unknown as Sizes
    const rows = m <= 2 && n >= 4 * manyGroups ? 4 : n >= 2 * manyGroups ? 2 : 1
    const least = fixedSubgroup(features, threads) ?? 32
    const group = n < manyGroups / 4 && k >= block * threads ? threads : Math.min(threads, Math.max(least, 16))
    const perUnit = (threads / group) * rows
    return [{ units: Math.ceil(n / perUnit), threads: [threads], write: (pass) => product(pass, features, { sizes: dims as unknown as Sizes, rows, group, perUnit, has: (name) => operands[name] !== undefined }) }]
  },
}

interface Plan { readonly sizes: Sizes; readonly rows: number; readonly group: number; readonly perUnit: number; has(operand: string): boolean }

function product(pass: PassHoles, features: Features, { sizes: { m, k, n, group: scaled }, rows, group, perUnit, has }: Plan): PassText {
  const x = pass.read("x", 4, 1), code = pass.packed("code"), scale = pass.read("scale")
  const zero = has("zero") ? pass.read("zero") : undefined, least = has("min") ? pass.read("min") : undefined
  const each = <T>(count: number, of: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => of(i))
  const divide = (a: string, b: string): string => (features.numbers.exactDivision ? `${a} / ${b}` : `${pass.math("div")}(${a}, ${b})`)
  // A piece is what shares a scale on both sides.
  const pieces = scaled < block ? 2 : 1, blocks = k / block, words = 8 / pieces
  const scaleAt = (piece: number): string => (pieces === 2 ? `2 * b + ${piece}` : scaled >= k ? "0" : scaled === block ? "b" : `b / ${scaled / block}`)
  const sums = each(m, (i) => each(rows, (r) => `sum${i}_${r}`)).flat()
  const joined = joinAcross(pass, features, { variables: sums, group, threads })
  const word = (name: string, i: number): string => `${name}[${i >> 2}][${i & 3}]`
  const needsSums = zero !== undefined || least !== undefined
  const activations = each(m, (i) => `
var q${i} = array<vec4<u32>, 2>();
var step${i} = 0f;
${each(pieces, (p) => `var total${i}_${p} = 0f;`).join("\n")}
{
${each(8, (e) => `let x${e} = ${x}(${i}, b * 8 + ${e});`).join("\n")}
let most = max(${each(2, (h) => `max(max(${each(4, (e) => `abs(x${4 * h + e})`).slice(0, 2).join(", ")}), max(${each(4, (e) => `abs(x${4 * h + e})`).slice(2).join(", ")}))`).join(", ")});
let amax = max(max(most.x, most.y), max(most.z, most.w));
step${i} = ${divide("amax", "127f")};
let rate = select(${divide("127f", "select(amax, 1f, amax == 0f)")}, 0f, amax == 0f);
${each(8, (e) => `let r${e} = vec4<i32>(round(x${e} * rate));\n${word(`q${i}`, e)} = pack4xI8(r${e});`).join("\n")}
${needsSums ? each(pieces, (p) => `{ let s = ${each(words, (e) => `r${p * words + e}`).join(" + ")}; total${i}_${p} = f32(s.x + s.y + s.z + s.w); }`).join("\n") : ""}
}`).join("\n")
  const products = each(rows, (r) => `
{
let row = min(first + ${r}, ${n - 1});
let w = ${code}(row, b);
${each(pieces, (p) => {
    const scales = [`let s${p} = ${scale}(row, ${scaleAt(p)});`, ...(zero === undefined ? [] : [`let z${p} = f32(${zero}(row, ${scaleAt(p)}));`]), ...(least === undefined ? [] : [`let l${p} = ${least}(row, ${scaleAt(p)});`])]
    const ofRow = (i: number): string => {
      const dot = each(words, (e) => `dot4I8Packed(${word("w", p * words + e)}, ${word(`q${i}`, p * words + e)})`).join(" + ")
      const centered = zero === undefined ? `f32(${dot})` : `(f32(${dot}) - z${p} * total${i}_${p})`
      const value = least === undefined ? `s${p} * ${centered}` : `(s${p} * ${centered} + l${p} * total${i}_${p})`
      return `sum${i}_${r} += step${i} * (${value});`
    }
    return [...scales, ...each(m, ofRow)].join("\n")
  }).join("\n")}
}`).join("\n")
  const whole = rows > 1 && n % rows === 0
  const finish = pass.finish(whole ? (rows as Lanes) : 1)
  const finished = each(m, (i) => whole
    ? `if (first < ${n}) { ${finish}(${i}, first / ${rows}, vec${rows}<f32>(${each(rows, (r) => `sum${i}_${r}`).join(", ")})); }`
    : each(rows, (r) => `if (first + ${r} < ${n}) { ${finish}(${i}, first + ${r}, sum${i}_${r}); }`).join("\n")).join("\n")
  return {
    declarations: joined.declarations,
    body: `
let first = unit * ${perUnit} + thread / ${group} * ${rows};
${sums.map((v) => `var ${v} = 0f;`).join("\n")}
for (var b = thread % ${group}; b < ${blocks}; b += ${group}) {
${activations}
${products}
}
${joined.text}
if (thread % ${group} == 0) {
${finished}
}`,
  }
}
