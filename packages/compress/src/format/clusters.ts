/**
 * The `count` values that leave the least (weighted) sum of squares to their nearest one, ascending: k-means in one
 * dimension, where clusters are runs of the sorted values. Dynamic programming over the ends of runs; the best last run
 * moves right with its end, so that each level takes n·log n.
 */
export function nearestClusters(values: Float32Array, count: number, weights?: Float32Array): number[] {
  const order = Array.from(values, (_, i) => i).sort((a, b) => values[a]! - values[b]! || a - b), n = order.length
  // Sums of the first i: of weights, of weighted values and of their squares, about the mean for accuracy.
  const middle = values.reduce((s, v) => s + v, 0) / Math.max(1, n)
  const w = new Float64Array(n + 1), wx = new Float64Array(n + 1), wxx = new Float64Array(n + 1)
  order.forEach((at, i) => {
    const weight = weights ? Math.max(weights[at]!, 1e-30) : 1, x = values[at]! - middle
    w[i + 1] = w[i]! + weight
    wx[i + 1] = wx[i]! + weight * x
    wxx[i + 1] = wxx[i]! + weight * x * x
  })
  const cost = (from: number, to: number): number => {
    const total = wx[to]! - wx[from]!
    return to <= from ? 0 : Math.max(0, wxx[to]! - wxx[from]! - (total * total) / (w[to]! - w[from]!))
  }
  let least = Float64Array.from({ length: n + 1 }, (_, to) => cost(0, to))
  const starts: Int32Array[] = [new Int32Array(n + 1)]
  for (let k = 1; k < Math.min(count, n); k++) {
    const next = new Float64Array(n + 1).fill(Infinity), start = new Int32Array(n + 1), before = least
    const fill = (lo: number, hi: number, first: number, last: number): void => {
      if (lo > hi) return
      const to = (lo + hi) >> 1
      for (let from = first; from <= Math.min(last, to); from++) {
        const c = before[from]! + cost(from, to)
        if (c < next[to]!) {
          next[to] = c
          start[to] = from
        }
      }
      fill(lo, to - 1, first, start[to]!)
      fill(to + 1, hi, start[to]!, last)
    }
    fill(0, n, 0, n)
    starts.push(start)
    least = next
  }
  const found: number[] = []
  for (let k = starts.length - 1, to = n; k >= 0; k--) {
    const from = starts[k]![to]!
    if (to > from) found.push(middle + (wx[to]! - wx[from]!) / (w[to]! - w[from]!))
    to = from
  }
  found.reverse()
  while (found.length < count) found.push(found.at(-1) ?? 0)
  return found
}
