// A WGSL template is a hand-tuned kernel with holes, written as text. It never knows what its operands are made of: it
// asks for functions that read them, and for one that takes results. The expression emitter writes those functions, so
// that casts, decoding of packed weights, bias, activation … are fused into the template's loops.
import type { Expr, Scalar, Shape, TemplateKernel } from "@thimble/core"

/** What an adapter offers, as far as kernels are chosen by it. */
export interface Features {
  /** The driver computes on the CPU: few workgroups run at once, so that what each does again takes so many times as long, and starting a dispatch costs nothing. */
  readonly software: boolean
  /** `shader-f16`: the type f16. */
  readonly half: boolean
  /** `subgroups`: smallest and largest size; undefined where there are none. */
  readonly subgroup: { readonly least: number; readonly most: number } | undefined
  /** `packed_4x8_integer_dot_product`: dot4I8Packed and its kin. */
  readonly packedDot: boolean
  /** Matrix products of a subgroup, where the adapter has them: M×K times K×N of `component`, summed in `result`. */
  readonly matrices: readonly SubgroupMatrix[]
  /** Bytes of workgroup memory, and threads of a workgroup. */
  readonly sharedBytes: number
  readonly threads: number
  /** Storage buffers that one kernel can bind, the output included; further parameters share one of them. */
  readonly bindings: number
  /** Bytes of a buffer that one of them shows. */
  readonly bindingBytes: number
  readonly numbers: Numbers
}
export interface SubgroupMatrix {
  readonly m: number
  readonly n: number
  readonly k: number
  readonly component: string
  readonly result: string
  /** Results go to memory declared as their type only, not to vectors of words. */
  readonly typed?: boolean
}

/** How the driver computes, found by a probe when the device is opened. */
export interface Numbers {
  /** a·b + c may be rounded once, where the alphabet rounds twice. */
  readonly contracts: boolean
  /** `fma` rounds once. */
  readonly fuses: boolean
  /** Division and square root are rounded correctly. */
  readonly exactDivision: boolean
  readonly exactRoot: boolean
  /** `unpack2x16float` gives what every f16 stands for, those below the normal ones included. */
  readonly exactHalves: boolean
}

/** How many neighbours along an axis are read or written at once. */
export type Lanes = 1 | 2 | 4 | 8 | 16

/** An operand, as far as a template may choose by it. */
export interface Operand {
  readonly shape: Shape
  readonly type: Scalar
  /** The axis along which neighbours are adjacent in memory, if there is one: where reading several at once pays. */
  readonly contiguous: number | undefined
  readonly body: Expr
}

/** One tuned kernel. */
export interface Template {
  /** Sizes and adapters it is for; all unless given. Otherwise the next template of the name is asked, in the end the op's expansion runs. */
  accepts?(dims: Readonly<Record<string, number>>, features: Features): boolean
  /** Also computes two at once: the second's own operands have names with a 2 behind, and `finish` takes two accumulators. */
  readonly pairs?: boolean
  /** The passes, one dispatch each, in order. */
  passes(kernel: Holes): readonly Pass[]
}

export interface Holes {
  readonly dims: Readonly<Record<string, number>>
  readonly kernel: TemplateKernel
  readonly operands: Readonly<Record<string, Operand>>
  readonly features: Features
}

/** One dispatch: a grid of `units` workgroups (as many as needed: the grid is folded where a dimension is too small). */
export interface Pass {
  readonly units: number
  readonly threads: readonly [x: number, y?: number, z?: number]
  /** Writes the kernel; called once, and again if wide reads turn out to be worth it: it must not remember anything. */
  write(pass: PassHoles): PassText
}

/**
 * The text of a pass. `body` is that of the entry point and sees `unit: i32` (number of the workgroup), `thread: i32`
 * (within the workgroup) and `local: vec3<u32>`; after `enable("subgroups")` also `lane: i32` (within the subgroup) and
 * `subgroupSize: i32`. `declarations` stand before it at module scope: workgroup memory, functions of the template's own.
 */
export interface PassText { readonly declarations?: string; readonly body: string }

/** Names of functions that do in two steps what `read` does, and of the type of what lies between. */
export interface Ahead {
  /** (one i32 per axis) -> held: asks for memory, and waits for nothing. */
  readonly ask: string
  /** (one i32 per axis, held) -> what `read` gives. */
  readonly take: string
  readonly held: string
}

export interface PassHoles {
  /**
   * The name of a function that reads an operand: (one i32 per axis) -> its type. With several `lanes` (powers of two),
   * the coordinate of `axis` counts groups of so many neighbours, and the result is vec2, vec4, or an array of vec4 for
   * 8 and 16; those past the end of the axis are 0. Reading along the contiguous axis makes wide loads, and a packed
   * word is then unpacked once for all lanes. Coordinates must not be negative or past the end.
   */
  read(operand: string, lanes?: Lanes, axis?: number): string
  /** The same in two steps, so that other work can be done while memory is on its way. */
  ahead(operand: string, lanes?: Lanes, axis?: number): Ahead
  /**
   * The name of a function that reads integers of at most eight bits along the last of two axes: (row, block) ->
   * array<vec4<u32>, 2>, the 32 neighbours from 32 · block on, four to a word, for dot4I8Packed.
   */
  packed(operand: string): string
  /**
   * The name of a function that reads f16 as it is stored: (one i32 per axis) -> vec4<u32>, eight neighbours, of which the
   * coordinate of `axis` counts the groups. Only for operands of which `hasHalves` says so.
   */
  halves(operand: string, axis: number): string
  /**
   * The name of a function that finishes results: (one i32 per axis of the kernel, accumulator) stores epilogue(acc). With
   * several `lanes` the last coordinate counts groups, the accumulator is of the types that `read` gives, and lanes past
   * the end of the axis are dropped. Every element must be written once, in any order; elements narrower than a word
   * cost two atomic operations if they are written one by one.
   */
  finish(lanes?: Lanes): string
  /** The name of a storage array of `size` elements, zero-initialised or not, that all passes of the kernel see. */
  scratch(name: string, type: "f32" | "u32" | "i32" | "vec4<f32>" | "vec4<u32>", size: number): string
  /** A function of the library of exact functions, by the alphabet's name: exp, tanh, erf, max, … of f32. */
  math(name: string): string
  enable(extension: "f16" | "subgroups" | "chromium_experimental_subgroup_matrix"): void
}
