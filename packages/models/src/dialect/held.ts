import type { ExportFormat } from "./fits.ts"

/**
 * What types know of how matrices are stored: names of kinds, such as `int4`, that go from formats to methods, recipes and models;
 * `kept`, where they stay as they are; `string`, where nothing is known. The property itself is never there.
 */
export interface Stores<K extends string = string> { readonly stores?: K }

/** The kinds that a type names, all of them where it is any of several; `string` where it names none. */
export type KindOf<T> = T extends { readonly stores?: infer K } ? (unknown extends K ? string : Exclude<K, undefined> & string) : string

/** A name with a number, where that is one and not any of several. */
export type Numbered<P extends string, N extends number, All = N> = [N extends unknown ? ([All] extends [N] ? N : never) : never] extends [never] ? string : `${P}${N}`

/** The kinds that each target can hold, in some groups and with scales of some type. */
export const held = {
  gptq: ["int2", "int3", "int4", "int8", "Q4_0", "Q8_0", "Q1_0", "Q2_0", "TQ1_0", "TQ2_0"],
  gptq_v2: ["int2", "int3", "int4", "int8", "Q4_0", "Q8_0", "Q1_0", "Q2_0", "TQ1_0", "TQ2_0"],
  awq: ["int4", "Q4_0"],
  "compressed-tensors": ["int1", "int2", "int3", "int4", "int5", "int6", "int7", "int8", "e4m3", "mx e2m1", "Q4_0", "Q5_0", "Q8_0", "Q1_0", "Q2_0", "Q3_K", "Q6_K", "TQ1_0", "TQ2_0"],
  bitsandbytes: ["nf4", "fp4", "int8"],
  mlx: ["int2", "int3", "int4", "int5", "int6", "int8", "affine2", "affine3", "affine4", "affine5", "affine6", "affine8", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q1_0", "Q2_0", "Q4_K", "Q5_K"],
  gguf: [
    "int1", "int2", "int3", "int4", "int5", "int6", "int7", "int8", "affine1", "affine2", "affine3", "affine4", "affine5", "mx e2m1",
    "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q1_0", "Q2_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4",
    "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ1_M",
  ],
} as const satisfies Readonly<Record<ExportFormat, readonly string[]>>

/** Kinds of weights that a target holds. */
export type Held<F extends ExportFormat> = (typeof held)[F][number]
/** Kinds of a model that a target cannot hold, as far as types know them. */
export type Unheld<F extends ExportFormat, K extends string> = string extends K ? never : Exclude<K, Held<F> | "kept">
/** Anything, if a target holds all kinds of a model; else what it does not. */
export type Fits<F extends ExportFormat, K extends string> = [Unheld<F, K>] extends [never] ? unknown : { readonly "cannot store": Unheld<F, K> }
