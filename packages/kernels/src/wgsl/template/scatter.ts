// Sums of what an index sends to each place of an axis. Where all neighbours of a row go to one place, as in gradients of
// embeddings, a workgroup marks once which rows come to its places, a bit each, and reads only those; others look at the
// index of every element. Either way a place adds its rows in their order, so that results are the same every time.
import { flatten } from "@thimble/core"
import { each } from "./each.ts"
import type { Holes, Lanes, Pass, PassHoles, PassText, Template } from "./holes.ts"

const threads = 256
/** Rows whose marks share a word. */
const perWord = 32
/** Rows that a workgroup soon has looked through, and workgroups among which more are shared: where few places have many rows, the reduction that the expansion is cuts the sums. */
const fewRows = 1024, many = 64

/** `n` rows of `inner` neighbours come to `size` places, in each of `outer` blocks. */
interface Sizes { readonly outer: number; readonly n: number; readonly inner: number; readonly size: number }

export const scatterAdd: Template = {
  accepts(dims, features) {
    const sizes = dims as unknown as Sizes
    return sizes.n > 0 && features.threads >= threads && (sizes.n <= fewRows || sizes.outer * shareOut(sizes).down >= many)
  },
  passes(holes: Holes) {
    const sizes = holes.dims as unknown as Sizes
    return [flatten([holes.operands.index!.body]).some((e) => e.op === "index" && e.value === 2) ? byElement(holes, sizes) : byRow(holes, sizes)]
  },
}

/** How a workgroup's threads are shared out: `across` groups of `lanes` neighbours, of `groups` that there are, times `places`; and how many workgroups a block takes. */
interface Shares { readonly lanes: Lanes; readonly groups: number; readonly across: number; readonly places: number; readonly down: number }
function shareOut({ inner, size }: Sizes): Shares {
  const lanes = inner >= 4 ? 4 : 1, groups = Math.ceil(inner / lanes), across = Math.min(threads, 2 ** Math.ceil(Math.log2(groups))), places = threads / across
  return { lanes, groups, across, places, down: Math.ceil(size / places) }
}

function byRow({ operands }: Holes, sizes: Sizes): Pass {
  const shares = shareOut(sizes)
  return { units: sizes.outer * shares.down, threads: [threads], write: (pass) => writeByRow(pass, sizes, shares, operands.src!.type) }
}

function writeByRow(pass: PassHoles, { n, size }: Sizes, { lanes, groups, across, places, down }: Shares, type: string): PassText {
  const source = pass.read("src", lanes, 2), index = pass.read("index"), finish = pass.finish(lanes)
  const words = threads / perWord, sum = lanes === 1 ? type : `vec${lanes}<${type}>`, mine = (of: (i: number) => string): string => each(Math.ceil(groups / across), of).join("\n")
  return {
    declarations: `var<workgroup> goals: array<i32, ${threads}>;\nvar<workgroup> marks: array<u32, ${places * words}>;`,
    body: `
let block = unit / ${down};
let first = unit % ${down} * ${places};
let own = thread / ${across};
let place = first + own;
let beside = thread % ${across};
${mine((i) => `var sum${i} = ${sum}();`)}
for (var start = 0; start < ${n}; start += ${threads}) {
goals[thread] = -1;
if (start + thread < ${n}) { goals[thread] = ${index}(block, start + thread, 0); }
workgroupBarrier();
for (var word = thread; word < ${places * words}; word += ${threads}) {
var marked = 0u;
for (var bit = 0; bit < ${perWord}; bit++) { marked |= select(0u, 1u << u32(bit), goals[word % ${words} * ${perWord} + bit] == first + word / ${words}); }
marks[word] = marked;
}
workgroupBarrier();
for (var word = 0; word < ${words}; word++) {
var marked = marks[own * ${words} + word];
while (marked != 0u) {
let row = start + word * ${perWord} + i32(countTrailingZeros(marked));
marked &= marked - 1u;
${mine((i) => `if (beside + ${i * across} < ${groups}) { sum${i} += ${source}(block, row, beside + ${i * across}); }`)}
}
}
}
if (place < ${size}) {
${mine((i) => `if (beside + ${i * across} < ${groups}) { ${finish}(block, place, beside + ${i * across}, sum${i}); }`)}
}`,
  }
}

function byElement({ operands }: Holes, { outer, n, inner, size }: Sizes): Pass {
  const count = outer * size * inner
  return {
    units: Math.ceil(count / threads), threads: [threads],
    write(pass) {
      const source = pass.read("src"), index = pass.read("index"), finish = pass.finish()
      return {
        body: `
let item = unit * ${threads} + thread;
if (item >= ${count}) { return; }
let block = item / ${size * inner};
let place = item / ${inner} % ${size};
let at = item % ${inner};
var sum = ${operands.src!.type}();
for (var row = 0; row < ${n}; row++) {
if (${index}(block, row, at) == place) { sum += ${source}(block, row, at); }
}
${finish}(block, place, at, sum);`,
      }
    },
  }
}
