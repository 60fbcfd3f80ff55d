// Words of memory, and functions that find them where a buffer is bound in several windows.

interface Row {
  /** Which of `at` and the window count: words, or quads of them. */
  readonly counts: "words" | "quads"
  /** The type of what is given to it, and of what it gives. */
  readonly takes?: "u32" | "vec4<u32>"
  readonly gives?: "u32" | "vec4<u32>"
  text(array: string, at: string, bits: string): string
}
/** Ways to reach the memory of a parameter. */
export const accesses = {
  load: { counts: "words", gives: "u32", text: (p, at) => `${p}[${at}]` },
  loadQuad: { counts: "quads", gives: "vec4<u32>", text: (p, at) => `${p}[${at}]` },
  loadShared: { counts: "words", gives: "u32", text: (p, at) => `atomicLoad(&${p}[${at}])` },
  store: { counts: "words", takes: "u32", text: (p, at, bits) => `${p}[${at}] = ${bits}` },
  storeQuad: { counts: "quads", takes: "vec4<u32>", text: (p, at, bits) => `${p}[${at}] = ${bits}` },
  /** A word of memory that is bound as quads. */
  storeWithin: { counts: "words", takes: "u32", text: (p, at, bits) => `${p}[(${at}) >> 2u][(${at}) & 3] = ${bits}` },
  storeShared: { counts: "words", takes: "u32", text: (p, at, bits) => `atomicStore(&${p}[${at}], ${bits})` },
  keep: { counts: "words", takes: "u32", text: (p, at, bits) => `atomicAnd(&${p}[${at}], ${bits})` },
  join: { counts: "words", takes: "u32", text: (p, at, bits) => `atomicOr(&${p}[${at}], ${bits})` },
} as const satisfies Record<string, Row>
export type Access = keyof typeof accesses

export const windowName = (parameter: number, window: number): string => `p${parameter}_${window}`

/** The functions of one module. */
export class WindowFunctions {
  private readonly words: number
  private readonly texts = new Map<string, string>()

  constructor(words: number) {
    this.words = words
  }
  call(parameter: number, windows: number, how: Access, at: string, bits: string): string {
    const name = `p${parameter}_${how}`, row: Row = accesses[how]
    if (!this.texts.has(name)) this.texts.set(name, this.write(name, row, Array.from({ length: windows }, (_, i) => windowName(parameter, i))))
    return row.takes === undefined ? `${name}(${at})` : `${name}(${at}, ${bits})`
  }
  text(): string {
    return [...this.texts.values()].join("\n")
  }
  private write(name: string, { counts, takes, gives, text }: Row, arrays: readonly string[]): string {
    const size = counts === "quads" ? this.words / 4 : this.words
    const each = arrays.map((array, i) => `${i === arrays.length - 1 ? "default" : `case ${i}`}: { ${gives === undefined ? "" : "return "}${text(array, "at", "bits")}; }`)
    return `fn ${name}(i: i32${takes === undefined ? "" : `, bits: ${takes}`})${gives === undefined ? "" : ` -> ${gives}`} {
let at = i & ${size - 1};
switch (i >> ${Math.log2(size)}u) {
${each.join("\n")}
}
}`
  }
}
