import type { Template } from "./holes.ts"

/** Edge of the tiles that lie in workgroup memory. */
const tile = 16

/** result[b, i, j] = Σ_l a[b, i, l] · b[b, l, j]: one result per thread, operands through square tiles. */
export const matmul: Template = {
  passes({ dims }) {
    const { batch, m, k, n } = dims as Record<"batch" | "m" | "k" | "n", number>
    const down = Math.ceil(m / tile), across = Math.ceil(n / tile)
    return [{
      units: batch * down * across,
      threads: [tile, tile],
      write(pass) {
        const a = pass.read("a"), b = pass.read("b"), finish = pass.finish()
        return {
          declarations: `
var<workgroup> left: array<array<f32, ${tile}>, ${tile}>;
var<workgroup> right: array<array<f32, ${tile}>, ${tile}>;`,
          body: `
let batch = unit / ${down * across};
let x = i32(local.x);
let y = i32(local.y);
let row = unit / ${across} % ${down} * ${tile} + y;
let column = unit % ${across} * ${tile} + x;
var sum = 0f;
for (var start = 0; start < ${k}; start += ${tile}) {
  if (row < ${m} && start + x < ${k}) { left[y][x] = ${a}(batch, row, start + x); } else { left[y][x] = 0f; }
  if (column < ${n} && start + y < ${k}) { right[y][x] = ${b}(batch, start + y, column); } else { right[y][x] = 0f; }
  workgroupBarrier();
  for (var l = 0; l < ${tile}; l++) { sum += left[y][l] * right[l][x]; }
  workgroupBarrier();
}
if (row < ${m} && column < ${n}) { ${finish}(batch, row, column, sum); }`,
        }
      },
    }]
  },
}
