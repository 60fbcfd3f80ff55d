import { architectureOf, type Stores } from "@thimble/models"
import { rotate, type RotateOptions } from "../quantize/rotate.ts"
import { modelStage } from "../recipe/model-stage.ts"
import type { Outline, Stage } from "../recipe/stage.ts"

/**
 * A stage that writes a model in rotated coordinates, which what is quantized after it is easier in; its matrices are f32 then.
 * See {@link rotate}.
 */
export function rotated({ kind, seed, parts }: Pick<RotateOptions, "kind" | "seed" | "parts"> = {}): Stage & Stores<"kept"> {
  const options = { ...(kind && { kind }), ...(seed !== undefined && { seed }), ...(parts && { parts }) }
  return modelStage({
    kind: "rotated",
    json: options,
    after: (outline) => afterRotation(outline, parts === undefined || parts.includes("stream")),
    run: async (model, { signal }) => (await rotate(model, { ...options, ...(signal && { signal }) })).model,
  })
}

/** Matrices become f32, and a head parts from the embedding where norms are folded into it. */
function afterRotation(outline: Outline, stream: boolean): Outline {
  const { config } = outline, { embedding, head } = architectureOf(config).names, matrices = new Map(outline.matrices)
  const untied = stream && config.tied && head !== undefined && embedding !== undefined
  for (const [path, m] of matrices) if (stream || m.layer !== undefined) matrices.set(path, { ...m, format: "f32", bytes: 4 * m.shape[0] * m.shape[1] })
  if (untied) {
    const { lookedUp: _, ...m } = matrices.get(embedding)!
    matrices.set(embedding, { ...m, lookedUp: true })
    matrices.set(head, m)
  }
  return { ...outline, config: untied ? { ...config, tied: false } : config, matrices }
}
