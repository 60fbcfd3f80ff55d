// The product of large matrices: tiles of both operands in workgroup memory, a block of results in each thread's registers.
// Where that would leave an adapter idle, several workgroups share the terms of a tile, and a second pass joins their sums.
import { each } from "./each.ts"
import { byMatrices } from "./matmul.matrices.ts"
import type { Operand, Pass, PassHoles, PassText, Template } from "./holes.ts"
import { alongTerms, sharedOf, sharesFor, threadsOf, tileFor, type Shares } from "./tile.ts"

interface Sizes { readonly batch: number; readonly m: number; readonly k: number; readonly n: number }

/** result[b, i, j] = Σ_l a[b, i, l] · b[b, l, j], accumulated in f32. */
export const matmul: Template = {
  accepts: (_dims, { threads, sharedBytes }) => threads >= 64 && sharedBytes >= sharedOf(tileFor(1, 1, 1, { threads, sharedBytes })),
  passes(holes) {
    const matrices = byMatrices(holes)
    if (matrices !== undefined) return matrices
    const { dims, operands, features } = holes
    const sizes = dims as unknown as Sizes, { batch, m, n } = sizes
    const shares = sharesFor(sizes, features), { tile, parts } = shares
    const down = Math.ceil(m / tile.rows), across = Math.ceil(n / tile.columns)
    const product: Pass = { units: parts * batch * down * across, threads: [threadsOf(tile)], write: (pass) => writeProduct(pass, sizes, operands, shares) }
    const vectors = batch * m * Math.ceil(n / 4)
    return parts === 1 ? [product] : [product, { units: Math.ceil(vectors / joining), threads: [joining], write: (pass) => writeSums(pass, sizes, parts, vectors) }]
  },
}

/** Threads that join sums, a vector each. */
const joining = 128

/** Where sums of parts of the terms are: vectors of four neighbours, [part, batch, row, column / 4]. */
const partialsOf = (pass: PassHoles, { batch, m, n }: Sizes, parts: number): string => pass.scratch("partials", "vec4<f32>", parts * batch * m * Math.ceil(n / 4))

function writeSums(pass: PassHoles, sizes: Sizes, parts: number, vectors: number): PassText {
  const partials = partialsOf(pass, sizes, parts), finish = pass.finish(4), { m, n } = sizes, across = Math.ceil(n / 4)
  return {
    body: `
let at = unit * ${joining} + thread;
if (at >= ${vectors}) { return; }
var sum = ${partials}[at];
for (var part = 1; part < ${parts}; part++) { sum += ${partials}[part * ${vectors} + at]; }
${finish}(at / ${m * across}, at / ${across} % ${m}, at % ${across}, sum);`,
  }
}

/** How a tile of an operand is brought to workgroup memory: vectors along one of its axes, spread over the threads. */
interface Staging { readonly load: string; readonly store: string; readonly setup: string }

function writeProduct(pass: PassHoles, sizes: Sizes, { a, b }: Readonly<Record<string, Operand>>, { tile, parts, terms }: Shares): PassText {
  const { batch, m, k, n } = sizes
  const { rows, columns, depth, down, across } = tile
  const threads = threadsOf(tile), wide = columns / across, high = rows / down
  const downUnits = Math.ceil(m / rows), acrossUnits = Math.ceil(n / columns)
  const partials = parts === 1 ? "" : partialsOf(pass, sizes, parts), finish = parts === 1 ? pass.finish(4) : ""
  const put = (row: string, group: string, sum: string): string => parts === 1 ? `${finish}(batch, ${row}, ${group}, ${sum});` : `${partials}[((part * ${batch} + batch) * ${m} + ${row}) * ${Math.ceil(n / 4)} + ${group}] = ${sum};`
  // The left tile holds four neighbours along the sum, [row][l / 4]; the right one four columns, [l][column / 4].
  const left = stage({ pass, name: "a", threads, inner: depth, outer: rows, innerSize: k, outerSize: m, innerStart: "start", outerStart: "row0",
    byInner: a!.contiguous !== 1, wholeInner: (o, i) => `left[${o} * ${depth / 4} + ${i}]`, oneOf: (o, i) => `left[(${o}) * ${depth / 4} + ${i} / 4][${i} % 4]` })
  const right = stage({ pass, name: "b", threads, inner: columns, outer: depth, innerSize: n, outerSize: k, innerStart: "column0", outerStart: "start",
    byInner: b!.contiguous !== 1, wholeInner: (o, i) => `right[${o} * ${columns / 4} + ${i}]`, oneOf: (o, i) => `right[(${o}) * ${columns / 4} + ${i} / 4][${i} % 4]` })
  const vectors = across / 4
  const block = [
    ...each(down, (i) => `let a${i} = left[(y + ${i * high}) * ${depth / 4} + q];`),
    ...each(4, (c) => [
      "{",
      ...each(vectors, (j) => `let b${j} = right[(q * 4 + ${c}) * ${columns / 4} + x + ${j * wide}];`),
      ...each(down, (i) => each(vectors, (j) => `c${i}_${j} = fma(vec4<f32>(a${i}[${c}]), b${j}, c${i}_${j});`).join(" ")),
      "}",
    ].join("\n")),
  ].join("\n")
  const compute = `for (var q = 0; q < ${depth / 4}; q++) {\n${block}\n}`
  const guard = (i: number, j: number, text: string): string => {
    const tests = [...(m % rows === 0 ? [] : [`row0 + y + ${i * high} < ${m}`]), ...(n % columns === 0 ? [] : [`column0 / 4 + x + ${j * wide} < ${Math.ceil(n / 4)}`])]
    return tests.length === 0 ? text : `if (${tests.join(" && ")}) { ${text} }`
  }
  return {
    declarations: `var<workgroup> left: array<vec4<f32>, ${(rows * depth) / 4}>;\nvar<workgroup> right: array<vec4<f32>, ${(columns * depth) / 4}>;`,
    body: `
${parts === 1 ? "" : `let part = unit / ${batch * downUnits * acrossUnits};\nlet first = part * ${terms};\nlet last = min(first + ${terms}, ${k});`}
let batch = unit / ${downUnits * acrossUnits}${parts === 1 ? "" : ` % ${batch}`};
let row0 = unit / ${acrossUnits} % ${downUnits} * ${rows};
let column0 = unit % ${acrossUnits} * ${columns};
let x = thread % ${wide};
let y = thread / ${wide};
${each(down, (i) => each(vectors, (j) => `var c${i}_${j} = vec4<f32>();`).join(" ")).join("\n")}
${left.setup}
${right.setup}
${alongTerms({ ...(parts === 1 ? { last: k } : { first: "first", last: "last" }), depth, operands: [left, right], multiply: compute })}
${each(down, (i) => each(vectors, (j) => guard(i, j, put(`row0 + y + ${i * high}`, `column0 / 4 + x + ${j * wide}`, `c${i}_${j}`))).join("\n")).join("\n")}`,
  }
}

interface Stage {
  readonly pass: PassHoles
  readonly name: "a" | "b"
  readonly threads: number
  /** The tile, [outer, inner], of an operand of [outerSize, innerSize] from these coordinates on. */
  readonly inner: number
  readonly outer: number
  readonly innerSize: number
  readonly outerSize: number
  readonly innerStart: string
  readonly outerStart: string
  /** Whether vectors are read along the inner axis, and so stored whole; otherwise each is spread over four places. */
  readonly byInner: boolean
  wholeInner(outer: string, inner4: string): string
  oneOf(outer: string, inner: string): string
}

function stage({ pass, name, threads, inner, outer, innerSize, outerSize, innerStart, outerStart, byInner, wholeInner, oneOf }: Stage): Staging {
  const read = pass.read(name, 4, byInner ? 2 : 1)
  // Along the axis that is read, positions count vectors.
  const [fast, slow] = byInner ? [inner / 4, outer] : [outer / 4, inner]
  const [fastStart, slowStart] = byInner ? [innerStart, outerStart] : [outerStart, innerStart]
  const [fastSize, slowSize] = byInner ? [innerSize, outerSize] : [outerSize, innerSize]
  const each = Math.ceil((fast * slow) / threads)
  const setup: string[] = [], load: string[] = [], store: string[] = []
  for (let e = 0; e < each; e++) {
    const v = `${name}_${e}`
    setup.push(`let ${v}_fast = (thread + ${e * threads}) % ${fast};`, `let ${v}_slow = (thread + ${e * threads}) / ${fast};`, `var ${v} = vec4<f32>();`)
    const f = `${fastStart} / 4 + ${v}_fast`, s = `${slowStart} + ${v}_slow`
    const inside = [
      ...(fastSize % (fast * 4) === 0 ? [] : [`${f} < ${Math.ceil(fastSize / 4)}`]), ...(slowSize % slow === 0 ? [] : [`${s} < ${slowSize}`]),
      ...((e + 1) * threads <= fast * slow ? [] : [`${v}_slow < ${slow}`]),
    ]
    const value = `${v} = ${read}(batch, ${byInner ? `${s}, ${f}` : `${f}, ${s}`});`
    load.push(inside.length === 0 ? value : `if (${inside.join(" && ")}) { ${value} } else { ${v} = vec4<f32>(); }`)
    const put = byInner ? `${wholeInner(`${v}_slow`, `${v}_fast`)} = ${v};`
      : [0, 1, 2, 3].map((i) => `${oneOf(`${v}_fast * 4 + ${i}`, `${v}_slow`)} = ${v}[${i}];`).join(" ")
    store.push((e + 1) * threads <= fast * slow ? put : `if (${v}_slow < ${slow}) { ${put} }`)
  }
  return { setup: setup.join("\n"), load: load.join("\n"), store: store.join("\n") }
}
