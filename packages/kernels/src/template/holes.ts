// A template is a hand-tuned loop nest with holes: it never knows where operands come from or where results go.
// The expression emitter fills the holes, so that casts, decoding, bias, activation … are fused into the loops.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { DecodedRuns } from "../emit/decoded.ts"
import type { RawElements } from "../emit/raw.ts"

/** Pushes code; used for addresses that only the caller knows. */
export type Push = (f: FunctionBuilder) => void

/** One operand along one axis, everything else fixed. */
export interface Stream {
  /**
   * Pushes the f32 at `position + offset` (lanes 1), or the f32x4 of the four elements from there on (lanes 4).
   * Four lanes are legal along any axis, but one `v128.load` only along the contiguous one. Never called past the
   * axis's end.
   */
  value(lanes: 1 | 4, offset?: number): void
  /** The 4·count elements from `position` on, as vectors in locals, read in pairs that the revectorizer can join. */
  vectors(count: number): Local[]
}

/** An input of a template: f32 values addressed by one coordinate per axis. */
export interface Operand {
  /** The axis whose neighbours are adjacent in memory, if any: the one to read four lanes along. */
  readonly contiguous: number | undefined
  /**
   * Emits what does not depend on `axis` (the base address, scales …) at this place of the code, and returns a stream
   * along it. `coords[axis]` is not read: `position` takes its place. The locals must keep their values while the
   * stream is used; only `position` may move. `aligned` promises that wherever four lanes are asked for, they begin at
   * a multiple of four.
   */
  along(f: FunctionBuilder, axis: number, coords: readonly Local[], position: Local, aligned?: boolean): Stream
  /**
   * Pushes the four values from 4 · `quad` on along `axis`: for values that neighbours compute from the same few words,
   * which an aligned quad of them shares. Undefined where a stream reads as well.
   */
  quad?(f: FunctionBuilder, axis: number, coords: readonly Local[], quad: Local): void
  /** It in runs of 32 neighbours along an axis, which is a multiple long, by rows along another; undefined where a stream reads as well. */
  runs?(axis: number, rowAxis: number): DecodedRuns | undefined
  /** Its elements along an axis as they lie in memory; undefined where they are not made of one number each. */
  raw?(axis: number): RawElements | undefined
  /** Whether all values along the axis are the same one. */
  constantAlong(axis: number): boolean
}

/** Where the results go. */
export interface Writer {
  /**
   * Applies the epilogue to the accumulator (a local of type f32 for one lane, v128 for four) and stores it at
   * `position + offset` along the axis. The accumulator may be overwritten.
   */
  finish(lanes: 1 | 4, accumulator: Local, offset?: number): void
  /** The same for neighbouring vectors from `position` on, stored one after the other, for the revectorizer. */
  finishVectors(accumulators: readonly Local[]): void
}

export interface Result {
  along(f: FunctionBuilder, axis: number, coords: readonly Local[], position: Local): Writer
}

/**
 * One parallel step: the body of a function that does units [begin, end). Any split of 0…units into ranges gives the
 * same bits. Between two phases of a template all threads meet at a barrier.
 */
export interface Phase {
  readonly units: number
  /** Rough count of scalar operations, where it is not the kernel's. */
  readonly work?: number
  emit(f: FunctionBuilder, begin: Local, end: Local): void
}

/** An emitted template. Scratch addresses must be multiples of 64. */
export interface Template {
  readonly phases: readonly Phase[]
  /** Shared by all threads, alive from the first phase to the last. */
  readonly scratchBytes: number
  /** Private to each thread, alive within one call of one phase. */
  readonly threadScratchBytes: number
}

/** What the engine offers; found by a probe. */
export interface Features {
  /** Relaxed SIMD: fused multiply-add. */
  readonly relaxed: boolean
  /** The relaxed dot product takes a second factor of eight bits for unsigned, as x86 does; seven bits are the same everywhere. */
  readonly unsignedDot?: boolean
  /** V8's revectorizer is on: adjacent pairs of 128-bit operations become 256-bit ones. */
  readonly wide: boolean
}
