const utf8 = new TextDecoder("utf-8", { ignoreBOM: true })

/** Texts by number, of which each may be made when it is asked for. An array of strings is one. */
export interface TextList {
  readonly length: number
  at(i: number): string | undefined
}

/**
 * Texts in valid UTF-8, one behind the other. Vocabularies have very many, and who decodes a text asks for few of them: as
 * bytes they take a fraction of what strings do.
 */
export class Texts implements TextList {
  private readonly bytes: Uint8Array
  /** Where each ends. */
  private readonly ends: Int32Array

  constructor(bytes: Uint8Array, ends: Int32Array) {
    this.bytes = bytes
    this.ends = ends
  }

  get length(): number { return this.ends.length }

  at(i: number): string | undefined {
    return i >= 0 && i < this.ends.length ? utf8.decode(this.bytes.subarray(i === 0 ? 0 : this.ends[i - 1]!, this.ends[i]!)) : undefined
  }

  /** All of them, decoded at once: one by one would leave behind several times what it makes. */
  all(): string[] {
    const whole = utf8.decode(this.bytes), texts: string[] = new Array(this.length)
    for (let i = 0, at = 0, from = 0; i < texts.length; i++) {
      const end = this.ends[i]!, begin = at
      // UTF-16 has one unit per character, and two if it takes four bytes of UTF-8.
      for (; from < end; from++) at += (this.bytes[from]! & 0xc0) === 0x80 ? 0 : this.bytes[from]! >= 0xf0 ? 2 : 1
      texts[i] = whole.slice(begin, at)
    }
    return texts
  }
}
