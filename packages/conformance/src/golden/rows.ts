import type { Row } from "./case.ts"
import { elementwise } from "./elementwise.ts"
import { graph } from "./graph.ts"
import { indexing } from "./indexing.ts"
import { movement } from "./movement.ts"
import { network } from "./network.ts"
import { reduce } from "./reduce.ts"
import { losses } from "./losses.ts"

/** Every golden op's spelling, by its name in the record. */
export const rows: Readonly<Record<string, Row>> = { ...elementwise, ...graph, ...indexing, ...movement, ...network, ...reduce, ...losses }
