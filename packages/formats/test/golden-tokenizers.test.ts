import { describe, expect, test } from "vitest"
import { contentsOf } from "../../conformance/src/golden.ts"
import { ggufTokenizer, openSentencePiece, openTokenizer, type Tokenizer } from "../src/index.ts"
import { asGguf, modelBytes, recorded, utf8, vocabularies, type Recorded } from "./tokenizer-files.ts"

const streamed = (tokenizer: Tokenizer, ids: readonly number[]): string => {
  const stream = tokenizer.stream()
  return ids.map((id) => stream.push(id)).join("") + stream.end()
}
const check = (tokenizer: Tokenizer, { cases }: Recorded): void => {
  for (const { text, ids, decoded } of cases) {
    expect([text, tokenizer.encode(text)]).toEqual([text, ids])
    expect([text, tokenizer.decode(ids)]).toEqual([text, decoded])
    expect([text, streamed(tokenizer, ids)]).toEqual([text, decoded])
  }
}

describe.each(Object.keys(vocabularies))("%s, as sentencepiece has it", (name) => {
  test("vocabulary", async () => {
    const tokenizer = await openSentencePiece(modelBytes(name)), { vocab, unk_id, bos_id, eos_id } = vocabularies[name]!
    expect(Array.from({ length: tokenizer.size }, (_, id) => tokenizer.tokenOf(id))).toEqual(vocab.map(([piece]) => piece))
    expect([tokenizer.unknown, tokenizer.bos, tokenizer.eos]).toEqual([unk_id, bos_id, eos_id])
    expect([...tokenizer.special.keys()]).toEqual(vocab.filter(([, , type]) => type === "CONTROL").map(([piece]) => piece))
  })
  test("ids and text, at once and token by token", async () => check(await openSentencePiece(modelBytes(name)), recorded(name)))
})

test("BPE by scores, from the metadata of a GGUF file", async () => {
  const name = "spm_bpe_bytefallback"
  check(await ggufTokenizer(asGguf(vocabularies[name]!, "llama")), recorded(name))
})

test("BPE as tokenizer.json, with merges in the order of scores", async () => {
  const name = "spm_bpe_bytefallback", { vocab } = vocabularies[name]!
  const known = new Set(vocab.map(([piece]) => piece))
  const merges = vocab.filter(([, , type]) => type === "NORMAL").sort(([, a], [, b]) => b - a).flatMap(([piece]) => Array.from({ length: piece.length - 1 }, (_, i) => [piece.slice(0, i + 1), piece.slice(i + 1)]).filter((pair) => pair.every((side) => known.has(side))))
  const tokenizer = await openTokenizer(utf8(JSON.stringify({
    added_tokens: vocab.flatMap(([content, , type], id) => (type === "CONTROL" ? [{ id, content, special: true, normalized: false }] : [])),
    normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, { type: "Replace", pattern: { String: " " }, content: "▁" }] },
    decoder: { type: "Sequence", decoders: [{ type: "Replace", pattern: { String: "▁" }, content: " " }, { type: "ByteFallback" }, { type: "Fuse" }, { type: "Strip", content: " ", start: 1, stop: 0 }] },
    model: { type: "BPE", vocab: Object.fromEntries(vocab.map(([piece], id) => [piece, id])), merges, unk_token: "<unk>", byte_fallback: true, fuse_unk: true },
  })))
  check(tokenizer, recorded(name))
  expect(tokenizer.unknown).toBe(0)
})

test("stories260K: the story that its page tells, there and back; bytes stand in for what 512 tokens lack", async () => {
  const tokenizer = await openSentencePiece(await contentsOf(new URL("../fixtures/stories260K/tok512.model", import.meta.url)))
  expect([tokenizer.size, tokenizer.unknown, tokenizer.bos, tokenizer.eos]).toEqual([512, 0, 1, 2])
  const story = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball.\nLily's mom said, \"Lily, let's go to the park.\""
  const ids = tokenizer.encode(story, { wrap: true })
  expect(ids[0]).toBe(1)
  expect([tokenizer.decode(ids), streamed(tokenizer, ids)]).toEqual([story, story])
  expect(tokenizer.encode("Once upon a time").map(tokenizer.tokenOf)).toEqual(["▁Once", "▁upon", "▁a", "▁time"])
  expect(tokenizer.encode("日🙂").map(tokenizer.tokenOf)).toEqual(["▁", "<0xE6>", "<0x97>", "<0xA5>", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>"])
})
