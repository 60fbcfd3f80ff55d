/**
 * The one error class of Thimble. Its message has one layout:
 * `op: what was expected, the values (the differing axis); a hint`.
 */
export class ThimbleError extends Error {
  /** Name of the op, file or call that was refused. */
  readonly op: string
  /** What kind of misuse this is; stable, meant for programs. */
  readonly code: ErrorCode

  constructor(code: ErrorCode, op: string, problem: string, hint?: string) {
    super(`${op}: ${problem}${hint === undefined ? "" : `; ${hint}`}`)
    this.name = "ThimbleError"
    this.op = op
    this.code = code
  }
}

/**
 * `shape`: sizes that do not fit · `dtype`: wrong element type · `axis`: no such axis · `index`: out of range ·
 * `value`: an argument outside its domain · `disposed`: a tensor whose memory was released · `device`: unknown,
 * unavailable or mixed devices · `memory`: an allocation that cannot be served · `numeric`: a computation without a
 * result (singular matrix, NaN loss) · `grad`: a derivative that does not exist · `format`: a file that breaks its format ·
 * `file`: a file that cannot be written, such as on a full disk · `internal`: a fault of Thimble itself.
 */
export type ErrorCode =
  | "shape" | "dtype" | "axis" | "index" | "value" | "disposed" | "device" | "memory" | "numeric" | "grad" | "format" | "file" | "internal"

/** Throws a {@link ThimbleError}; an expression, so that it can stand after `??`. */
export function fail(code: ErrorCode, op: string, problem: string, hint?: string): never {
  throw new ThimbleError(code, op, problem, hint)
}

/** Prints a shape the way every message does: `[4, 8]`, and `[]` for a scalar. */
export const showShape = (shape: readonly number[]): string => `[${shape.join(", ")}]`
