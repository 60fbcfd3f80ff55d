import type { SparsityPattern } from "../prune/pattern.ts"
import { goneOf, tileScores } from "../prune/tiles.ts"
import type { MatrixShape } from "../quantizer.ts"

/** Scores that a pattern is tried on. */
export interface MaskCase { readonly scores: Float64Array; readonly shape: MatrixShape }

/** A law of patterns: which weights stay, by their scores. */
export interface MaskLaw {
  readonly name: string
  readonly statement: string
  /** How a case breaks it; nothing if it holds. */
  broken(pattern: SparsityPattern, c: MaskCase): string | undefined
}

const sum = (kept: Uint8Array): number => kept.reduce((n, k) => n + k, 0)

export const exactShare: MaskLaw = {
  name: "exact share",
  statement: "As many stay as the pattern says; of tiles that are all of one size, exactly ⌊share·n⌋ go.",
  broken(pattern, { scores, shape }) {
    const stay = sum(pattern.kept(scores, shape)), most = pattern.keeps(shape), [r, c] = pattern.block?.(shape) ?? [1, 1], even = shape[0] % r === 0 && shape[1] % c === 0
    return stay > most || (even && stay !== most) ? `${stay} stay of at most ${most}` : undefined
  },
}

export const wholeTiles: MaskLaw = {
  name: "whole tiles",
  statement: "What goes together goes or stays as a whole.",
  broken(pattern, { scores, shape }) {
    if (pattern.block === undefined) return undefined
    const block = pattern.block(shape), kept = pattern.kept(scores, shape), sizes = tileScores(new Float64Array(scores.length).fill(1), shape, block)
    const at = tileScores(Float64Array.from(kept), shape, block).findIndex((n, i) => n !== 0 && n !== sizes[i])
    return at < 0 ? undefined : `tile ${at} stays in part`
  },
}

export const smallestGo: MaskLaw = {
  name: "least go",
  statement: "Nothing that stays has a smaller score than what goes, among those that compete; of equals the first go.",
  broken(pattern, { scores, shape: [rows, columns], shape }) {
    const kept = pattern.kept(scores, shape)
    if (pattern.neighbours !== undefined) {
      const { keep: n, of: m } = pattern.neighbours
      for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c += m) {
        const run = Array.from({ length: Math.min(m, columns - c) }, (_, i) => r * columns + c + i), goes = run.filter((i) => kept[i] === 0), stays = run.filter((i) => kept[i] === 1)
        if (stays.length !== Math.min(n, run.length)) return `${stays.length} of the run at row ${r}, column ${c} stay`
        for (const i of goes) for (const j of stays) if (scores[i]! > scores[j]! || (scores[i] === scores[j] && i > j)) return `${scores[i]} goes and ${scores[j]} stays in the run at row ${r}, column ${c}`
      }
      return undefined
    }
    const block = pattern.block?.(shape) ?? [1, 1], tiles = tileScores(scores, shape, block), stays = tileScores(Float64Array.from(kept), shape, block).map((n) => Number(n > 0)), across = Math.ceil(columns / block[1])
    const size = pattern.within === "row" ? across : tiles.length
    for (let from = 0; from < tiles.length; from += size) {
      const order = Array.from({ length: size }, (_, i) => from + i).sort((a, b) => tiles[a]! - tiles[b]! || a - b), gone = goneOf(pattern.share!, size)
      const at = order.findIndex((i, place) => stays[i] !== Number(place >= gone))
      if (at >= 0) return `tile ${order[at]} ${stays[order[at]!] ? "stays" : "goes"}, though it is number ${at} of ${size} and ${gone} go`
    }
    return undefined
  },
}

export const stable: MaskLaw = {
  name: "stable",
  statement: "What has gone has no score, and goes again: masking twice is masking once.",
  broken(pattern, { scores, shape }) {
    const once = pattern.kept(scores, shape), twice = pattern.kept(scores.map((s, i) => (once[i] ? s : 0)), shape), at = once.findIndex((k, i) => k !== twice[i])
    return at < 0 ? undefined : `weight ${at} ${once[at] ? "stays" : "goes"} at first`
  },
}

export const scaled: MaskLaw = {
  name: "scaled",
  statement: "Scores in other units choose the same.",
  broken(pattern, { scores, shape }) {
    const a = pattern.kept(scores, shape), b = pattern.kept(scores.map((s) => s * 8), shape), at = a.findIndex((k, i) => k !== b[i])
    return at < 0 ? undefined : `weight ${at} differs`
  },
}

/** Laws that every pattern obeys for scores above 0. */
export const maskLaws: readonly MaskLaw[] = [exactShare, wholeTiles, smallestGo, stable, scaled]
