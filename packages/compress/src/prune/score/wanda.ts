import { squares } from "../../recipe/statistic.ts"
import type { Score } from "../score.ts"
import { wandaScores } from "../wanda.ts"

/** |w|·‖x‖: {@link wandaScores} with the inputs of the calibration data. */
export const wanda = (): Score => ({
  name: "wanda", toJSON: () => ({ score: "wanda" }), observes: [squares],
  of: async ({ values, shape }, statistics) => wandaScores(values, shape, (await statistics!.of(squares).data()) as Float32Array),
})
