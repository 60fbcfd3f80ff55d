import { fail } from "@thimble/core"
import type { Json } from "@thimble/models"
import { block } from "./pattern/block.ts"
import { columns } from "./pattern/columns.ts"
import { keepOf } from "./pattern/n-of-m.ts"
import { rows } from "./pattern/rows.ts"
import { unstructured } from "./pattern/unstructured.ts"
import type { SparsityPattern } from "./pattern.ts"
import { activity } from "./score/activity.ts"
import { fisher } from "./score/fisher.ts"
import { magnitude } from "./score/magnitude.ts"
import { randomScore } from "./score/random.ts"
import { taylor } from "./score/taylor.ts"
import { wanda } from "./score/wanda.ts"
import type { Score } from "./score.ts"
import { erk } from "./spread/erk.ts"
import { globally } from "./spread/global.ts"
import { owl } from "./spread/owl.ts"
import type { ShareSpread } from "./spread.ts"

type Rows<T> = Readonly<Record<string, (json: Json) => T>>
type Within = { readonly within?: "row" }

const scores: Rows<Score> = {
  magnitude: ({ norm }) => magnitude(norm as "l1"), random: ({ seed }) => randomScore(seed as number), wanda, activity: (json) => activity(json as { threshold: number }),
  taylor: (json) => taylor(json as { order: "first" }), fisher,
}
const patterns: Rows<SparsityPattern> = {
  unstructured: ({ share, within }) => unstructured(share as number, within as never && ({ within } as Within)), rows: ({ share }) => rows(share as number), columns: ({ share }) => columns(share as number),
  block: ({ block: shape, share, within }) => block(shape as unknown as [number, number], share as number, within as never && ({ within } as Within)), keepOf: ({ n, m }) => keepOf(n as number, m as number),
}
const spreads: Rows<ShareSpread> = { global: () => globally(), erk: () => erk(), owl: (json) => owl(json as Parameters<typeof owl>[0]) }

const reader = <T>(what: string, known: Rows<T>) => (json: unknown): T => {
  const own = json as Json | undefined, name = String(own?.[what])
  return own !== null && typeof own === "object" && Object.hasOwn(known, name) ? known[name]!(own) : fail("value", "parseRecipe", `no ${what} is called '${name}'`, Object.keys(known).join(", "))
}
export const scoreOf = reader("score", scores), patternOf = reader("pattern", patterns), spreadOf = reader("spread", spreads)
