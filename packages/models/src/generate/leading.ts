/**
 * Moves the smallest leading set to the front of the first `count` ids: the best by value (of equal ones the lower id)
 * whose measures add up to at least `least`. Returns how many those are, all if they fall short; their order is arbitrary.
 * Hoare's selection, by a sum instead of a place: linear in `count` on average.
 */
export function leading(ids: Int32Array, count: number, values: ArrayLike<number>, measure: (id: number) => number, least: number): number {
  // What stands before `low` is in the set, what stands from `high` on is not.
  let low = 0, high = count, missing = least
  while (low < high) {
    const pivot = ids[(low + high) >> 1]!, value = values[pivot]!
    const before = (id: number): boolean => values[id]! > value || (values[id]! === value && id < pivot)
    swap(ids, (low + high) >> 1, high - 1)
    let place = low, sum = 0
    for (let i = low; i < high - 1; i++) {
      if (!before(ids[i]!)) continue
      sum += measure(ids[i]!)
      swap(ids, i, place++)
    }
    swap(ids, place, high - 1)
    if (sum >= missing) high = place
    else {
      missing -= sum + measure(pivot)
      low = place + 1
      if (missing <= 0) break
    }
  }
  return low
}

function swap(ids: Int32Array, i: number, j: number): void {
  const held = ids[i]!
  ids[i] = ids[j]!
  ids[j] = held
}
