import { crossEntropy, type CrossEntropyOptions } from "@thimble/core"
import { rowsOf, studentLogits } from "./divergence.ts"
import { ignored, labelled, meanOver, part, type Loss } from "./loss.ts"

/** Cross entropy of the student with the right classes; labels of −100 do not count. */
export const labels = ({ labelSmoothing = 0 }: Pick<CrossEntropyOptions, "labelSmoothing"> = {}): Loss => ({
  name: "labels",
  needs: { student: ["logits"], teacher: [], labels: true },
  compute(view) {
    const right = part("labels", "batch", "labels", view.labels)
    const each = crossEntropy(rowsOf(studentLogits("labels", view)), right.reshape([right.size]), { labelSmoothing, ignoreIndex: ignored, reduction: "none" })
    return meanOver(each, labelled(view))
  },
})
