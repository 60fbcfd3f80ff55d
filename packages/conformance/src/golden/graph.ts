import { selectAt, slice } from "@thimble/core"
import type { Row } from "./case.ts"

/** Small graphs: a value used twice, overlapping views, broadcasting on the way back. Spelled as the record notes them. */
export const graph = {
  graph_reuse: ({ x }) => x.mul(x).add(x).sum().mul(x.mean()),
  graph_views: ({ x }) => slice(x, null, [1]).mul(slice(x, null, [0, -1])).sum({ axis: 0 }).add(selectAt(selectAt(x.T, 0, 0), 0, 0)),
  graph_broadcast: ({ a, b, c }) => a.add(b).mul(c).div(b.exp().add(1)).sum({ axis: 1 }),
} satisfies Record<string, Row>
