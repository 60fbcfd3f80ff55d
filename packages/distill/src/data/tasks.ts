import { fail } from "@thimble/core"
import { ignored } from "../loss/loss.ts"
import type { Data } from "./data.ts"
import { examples } from "./examples.ts"

/** What is given, and what should be written on it, as tokens: a text and its summary, a question and its answer. */
export interface Task { readonly prompt: ArrayLike<number>; readonly target: ArrayLike<number> }

export interface TaskOptions {
  /** Tasks per batch. */
  readonly batch: number
  /** Positions of a sequence; those of the longest task unless given. A task that is longer is refused. */
  readonly length?: number
  /** Token that ends a target, and is learned, too; none unless given. */
  readonly end?: number
  /** Token that stands after a shorter task, where nothing counts; 0 unless given. */
  readonly pad?: number
  /** Decides the order; 0 unless given. */
  readonly seed?: number
}

/**
 * Tasks whose targets are learned, and whose prompts are only read: a position counts, for every loss, where a token of the target (or
 * its end) comes next. Shorter tasks are followed by padding, which a model that looks back never sees.
 */
export function tasks(all: readonly Task[], { batch, length, end, pad = 0, seed = 0 }: TaskOptions): Data {
  const rows = all.map(({ prompt, target }, i) => {
    if (prompt.length === 0) fail("value", "tasks", `the prompt of task ${i} is empty`, "begin it with the token that begins texts")
    if (target.length === 0 && end === undefined) fail("value", "tasks", `the target of task ${i} is empty`)
    return Int32Array.from([...Array.from(prompt), ...Array.from(target), ...(end === undefined ? [] : [end])])
  })
  if (rows.length === 0) fail("value", "tasks", "there are no tasks")
  const positions = length ?? Math.max(...rows.map((r) => r.length)) - 1, long = rows.findIndex((r) => r.length - 1 > positions)
  if (long >= 0) fail("shape", "tasks", `task ${long} takes ${rows[long]!.length - 1} positions, a sequence has ${positions}`, "leave it out, or shorten its prompt")
  const inputs = new Int32Array(rows.length * positions).fill(pad), labels = new Int32Array(rows.length * positions).fill(ignored)
  rows.forEach((row, i) => {
    inputs.set(row.subarray(0, -1), i * positions)
    const first = all[i]!.prompt.length - 1
    labels.set(row.subarray(first + 1), i * positions + first)
  })
  return { ...examples({ inputs, shape: [positions], labels, labelShape: [positions] }, { batch, seed }), length: positions }
}
