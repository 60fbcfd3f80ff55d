import type { Json, Model } from "@thimble/models"
import type { Outline, PlannedStage, RunContext, Stage } from "./stage.ts"

/** A stage that makes another model at once. */
export interface ModelStage {
  readonly kind: string
  readonly json: Json
  /** What calibration data is needed for, if so. */
  readonly needs?: string
  /** As in {@link PlannedStage}. */
  readonly lazily?: true
  /** The model as it will be; refuses one that does not fit. */
  after(outline: Outline): Outline
  run(model: Model, context: RunContext): Promise<Model>
}

export const modelStage = ({ kind, json, needs, lazily, after, run }: ModelStage): Stage => ({
  kind,
  toJSON: () => ({ stage: kind, ...json }),
  plan: (outline): PlannedStage => ({
    kind, entries: [], after: after(outline), ...(needs !== undefined && { needs }), ...(lazily && { lazily }),
    // Nothing to yield: the job tells when a stage is done.
    // eslint-disable-next-line require-yield
    async *run(model, context) {
      return run(model, context)
    },
  }),
})
