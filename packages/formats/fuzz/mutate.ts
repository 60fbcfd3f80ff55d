// Changes to files: where bytes are, what integers say, what headers spell.
import fc from "fast-check"

/** Numbers that sizes and offsets go wrong with. */
const odd: readonly bigint[] = [0n, 1n, 2n, 3n, 7n, 8n, 31n, 32n, 33n, 255n, 256n, 65535n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n]
const oddNumber = fc.oneof(fc.constantFrom(...odd), fc.nat(300).map(BigInt))

export type Change = (bytes: Uint8Array) => Uint8Array
/** A place in the file, more often near its beginning; as a share, so that it fits any file. */
const place = fc.oneof({ weight: 3, arbitrary: fc.double({ min: 0, max: 1, noNaN: true }).map((x) => x ** 4) }, { weight: 1, arbitrary: fc.double({ min: 0, max: 1, noNaN: true }) })
const at = (bytes: Uint8Array, share: number, width = 1): number => Math.max(0, Math.min(bytes.length - width, Math.floor(share * bytes.length)))

const changes: fc.Arbitrary<Change> = fc.oneof(
  fc.tuple(place, fc.nat(255)).map(([p, v]): Change => (b) => (b.length === 0 ? b : b.with(at(b, p), v))),
  // An integer of four or eight bytes where one may be.
  fc.tuple(place, oddNumber, fc.constantFrom(4, 8), fc.boolean()).map(([p, v, width, aligned]): Change => (b) => {
    if (b.length < width) return b
    const out = b.slice(), where = at(b, p, width)
    const view = new DataView(out.buffer), start = aligned ? where - (where % 4) : where
    if (width === 4) view.setUint32(start, Number(v & 0xffffffffn), true)
    else view.setBigUint64(start, v, true)
    return out
  }),
  // What an integer says, and a little more or less.
  fc.tuple(place, fc.integer({ min: -33, max: 33 })).map(([p, by]): Change => (b) => {
    if (b.length < 4) return b
    const out = b.slice(), view = new DataView(out.buffer), where = at(b, p, 4)
    view.setUint32(where, view.getUint32(where, true) + by, true)
    return out
  }),
  place.map((p): Change => (b) => b.slice(0, at(b, p))),
  fc.nat(64).map((n): Change => (b) => Uint8Array.from([...b, ...new Uint8Array(n)])),
  fc.tuple(place, fc.nat(16)).map(([p, n]): Change => (b) => Uint8Array.from([...b.subarray(0, at(b, p)), ...b.subarray(at(b, p) + n)])),
  fc.tuple(place, place, fc.nat(40)).map(([p, q, n]): Change => (b) => Uint8Array.from([...b.subarray(0, at(b, p)), ...b.subarray(at(b, q), at(b, q) + n), ...b.subarray(at(b, p))])),
)

/** Up to four changes, one after the other; none now and then. */
export const mutation: fc.Arbitrary<Change> = fc.array(changes, { maxLength: 4 }).map((all) => (bytes) => all.reduce((b, change) => change(b), bytes))

/** Words of a header, or parts of it, exchanged for others that headers may have. */
export const rewording = (words: readonly string[]): fc.Arbitrary<(text: string) => string> =>
  fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.oneof(fc.constantFrom(...words), oddNumber.map(String))), { maxLength: 3 }).map((edits) => (text) =>
    edits.reduce((t, [share, word]) => {
      const tokens = [...t.matchAll(/"[^"]*"|'[^']*'|-?\d+|[A-Za-z]+|[[\]{}(),:]/g)]
      const token = tokens[Math.min(tokens.length - 1, Math.floor(share * tokens.length))]
      return token === undefined ? t : t.slice(0, token.index) + word + t.slice(token.index + token[0].length)
    }, text))
