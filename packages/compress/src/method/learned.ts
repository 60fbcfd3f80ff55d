import type { Stores } from "@thimble/models"
import type { QuantizedFormat } from "../quantizer.ts"
import { learnRounding, type LearningOptions } from "../quantize/learn-rounding.ts"
import type { Method } from "../recipe/method.ts"
import { reconstructed } from "./reconstructed.ts"

export interface LearnedMethodOptions<K extends string = string> extends Pick<LearningOptions, "steps" | "rate" | "learn"> {
  readonly format: QuantizedFormat & Stores<K>
}

/** Learned rounding (AutoRound: Cheng et al., arXiv 2309.05516): which way to round, and how far codes reach, by signs of gradients. */
export const learned = <K extends string = string>({ format, ...options }: LearnedMethodOptions<K>): Method & Stores<K> =>
  reconstructed({ name: "learned rounding", json: "learned", format, options }, (values, shape, h, more) => learnRounding(values, shape, h, { ...options, format, ...more }))
