import type * as ops from "../../../core/src/ops/index.ts"
import { elementwise } from "./elementwise.ts"
import { indexing } from "./indexing.ts"
import { linalg } from "./linalg.ts"
import { losses } from "./losses.ts"
import { create, moves } from "./movement.ts"
import { network } from "./network.ts"
import { products } from "./product.ts"
import { reduce } from "./reduce.ts"
import type { Row } from "./row.ts"
import { sparse } from "./sparse.ts"

/** Every function that core's `ops` exports. */
export type OpName = { [K in keyof typeof ops]: (typeof ops)[K] extends (...args: never[]) => unknown ? K : never }[keyof typeof ops]

/** One row per op: correctness, gradients, speed and the support matrix all come from it. A missing or superfluous row is a type error. */
export const table = { ...create, ...elementwise, ...moves, ...reduce, ...indexing, ...products, ...sparse, ...linalg, ...network, ...losses } satisfies Record<OpName, Row>
const strangers: Record<Exclude<keyof typeof table, OpName>, never> = {}
void strangers

export const rows = Object.entries(table) as readonly (readonly [OpName, Row])[]
