import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { createServer, type Server } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { adamW, exp, logSoftmax, sgd, tensor, tensorsOf, toDevice, type Device } from "@thimble/core"
import { open } from "@thimble/kernels"
import { referenceDevice, useDevice } from "@thimble/core"
import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { answering, cachedTeacher, distill, elsewhere, ensemble, fingerprint, forwardKL, hidden, httpTeacher, movingAverage, repeat, softTargets, storeAnswers, topK, windows, asNetwork, type Data, type Question, type Teacher } from "../src/index.ts"
import { packAnswers, unpackAnswers } from "../src/teacher/packed.ts"
import { llama, text } from "./small.ts"

let folder: string, device: Device
beforeAll(async () => {
  device = await open("wasm", { threads: 1 })
  folder = await mkdtemp(join(tmpdir(), "thimble-teachers-"))
})
afterAll(() => rm(folder, { recursive: true }))
const data = (): Data => windows(text, { batch: 3, length: 10, seed: 4 })
const loss = forwardKL({ restrict: topK(8) })
const losses = async (teacher: Teacher, how: Partial<Parameters<typeof distill>[0]> = {}): Promise<number[]> => {
  const out: number[] = []
  for await (const s of distill({ teacher, student: llama(1), loss, data: data(), optimizer: sgd({ rate: 0.05 }), steps: 4, ...how })) out.push(s.loss)
  return out
}
const close = (a: readonly number[], b: readonly number[], digits: number): void => {
  expect(a.length).toBe(b.length)
  a.forEach((v, i) => expect(v).toBeCloseTo(b[i]!, digits))
}

describe("stored answers", () => {
  test("what is packed comes back: classes exactly, logarithms within a step of 1/2048", async () => {
    const rows = fc.record({ k: fc.integer({ min: 1, max: 12 }), n: fc.integer({ min: 1, max: 9 }), classes: fc.constantFrom(200, 5000, 128000), seed: fc.integer() })
    await fc.assert(fc.asyncProperty(rows, fc.infiniteStream(fc.double({ min: 0, max: 40, noNaN: true })), async ({ k, n, classes, seed }, numbers) => {
      const indices = Int32Array.from({ length: n * k }, (_, i) => Math.abs((seed ^ (i * 7919)) % classes)), logs = new Float32Array(n * k)
      for (let row = 0; row < n; row++) logs.set(Array.from({ length: k }, () => -numbers.next().value!).sort((a, b) => b - a), row * k)
      const back = await unpackAnswers(await packAnswers(indices, logs, k, classes), n, k, classes)
      expect(back.indices).toEqual(indices)
      back.logProbabilities.forEach((v, i) => expect(Math.abs(v - Math.max(logs[i]!, -65535 / 2048))).toBeLessThanOrEqual(1 / 4096 + 1e-5))
    }), { numRuns: 40 })
  })
  test("J3: teach as the live teacher does, over and over", async () => {
    const teacher = llama(3), where = join(folder, "live"), again = repeat(data(), 3), seen: number[] = []
    const { bytes, positions } = await storeAnswers(teacher, { folder: where, data: again, batches: 3, top: 12, onProgress: ({ done }) => seen.push(done) })
    expect([positions, seen]).toEqual([90, [1, 2, 3]])
    expect(bytes / positions).toBeLessThan(12 * 5)
    await using cached = await cachedTeacher(where, { of: teacher })
    close(await losses(cached, { data: again, steps: 8 }), await losses(teacher, { data: again, steps: 8 }), 3)
    // All classes stored, it is the dense loss.
    const all = join(folder, "all")
    await storeAnswers(teacher, { folder: all, data: again, batches: 3, top: 40 })
    await using whole = await cachedTeacher(all)
    close(await losses(whole, { data: again, loss: softTargets({ temperature: 2, restrict: topK(40) }) }), await losses(teacher, { data: again, loss: softTargets({ temperature: 2 }) }), 3)
  })
  test("take at most 300 bytes per token for the 64 most probable of 128k, and come back", async () => {
    const [n, k, classes] = [512, 64, 128000]
    // As of a model: a few likely classes, a long tail; which they are looks random.
    let state = 1
    const draw = (): number => (state = (state * 48271) % 2147483647) / 2147483647
    const indices = Int32Array.from({ length: n * k }, () => Math.floor(draw() ** 3 * classes)), logs = new Float32Array(n * k)
    for (let row = 0; row < n; row++) {
      let at = -0.2 - 2 * draw()
      for (let i = 0; i < k; i++) logs[row * k + i] = at -= (draw() * 2.5) / (i + 1) ** 0.8
    }
    const packed = await packAnswers(indices, logs, k, classes)
    expect(packed.length / n).toBeLessThanOrEqual(300)
    expect((await unpackAnswers(packed, n, k, classes)).indices).toEqual(indices)
  })
  test("of another teacher, to other data, too few, damaged or unfinished: refused", async () => {
    const teacher = llama(2), where = join(folder, "stale")
    await storeAnswers(teacher, { folder: where, data: data(), batches: 2, top: 4 })
    await expect(cachedTeacher(where, { of: llama(3) })).rejects.toThrow("are those of another teacher, or of this one before it changed; storeAnswers() again")
    const changed = teacher.with({ "model.norm.weight": teacher.vectors["model.norm.weight"]!.add(1e-3) })
    expect(await fingerprint(changed)).not.toBe(await fingerprint(teacher))
    await expect(cachedTeacher(where, { of: changed })).rejects.toThrow("another teacher")
    await using cached = await cachedTeacher(where)
    await expect(losses(cached)).rejects.toThrow("the loss asks for 8 classes per position, 4 were stored")
    const few = forwardKL({ restrict: topK(4) })
    await expect(losses(cached, { loss: few, data: windows(text, { batch: 3, length: 10, seed: 5 }) })).rejects.toThrow("the answers in " + where + " are to other data")
    await expect(losses(cached, { loss: few })).rejects.toThrow("batch 2 was not stored, 2 were; repeat(data, batches)")
    expect(() => distill({ teacher: cached, student: llama(1), loss: softTargets(), data: data(), optimizer: sgd({ rate: 1 }), steps: 1 })).toThrow("softTargets needs the teacher's logits, and it shows only most probable classes")
    expect(() => distill({ teacher: cached, student: llama(1, { vocab_size: 50 }), loss: few, data: data(), optimizer: sgd({ rate: 1 }), steps: 1 })).toThrow("the student knows 50 classes, the teacher 40")
    const bytes = await readFile(join(where, "answers.bin"))
    await writeFile(join(where, "answers.bin"), bytes.subarray(0, -1))
    await expect(cachedTeacher(where)).rejects.toThrow(/answers\.bin has \d+ bytes, not \d+/)
    const control = new AbortController()
    await expect(storeAnswers(teacher, { folder: where, data: data(), batches: 5, top: 4, signal: control.signal, onProgress: () => control.abort() })).rejects.toThrow("aborted")
    await expect(cachedTeacher(where)).rejects.toThrow("has no answers.json; storeAnswers() writes it when it is done")
  })
})

describe("an ensemble", () => {
  test("has the mean of its members' probabilities; one member is itself", async () => {
    const [a, b] = [llama(1), llama(2)], both = ensemble([a, b], { weights: [3, 1] }), { inputs } = await data().batch(0)
    const probabilities = (n: ReturnType<typeof asNetwork>): Promise<Float32Array> => exp(logSoftmax(n.see(n.parameters, inputs, { wanted: ["logits"] }).logits!)).data() as Promise<Float32Array>
    const [p, q, m] = [await probabilities(asNetwork(a)), await probabilities(asNetwork(b)), await probabilities(both)]
    m.forEach((v, i) => expect(v).toBeCloseTo(0.75 * p[i]! + 0.25 * q[i]!, 5))
    close(await losses(ensemble([b]), { loss: softTargets() }), await losses(b, { loss: softTargets() }), 4)
  })
  test("of different vocabularies, or of nothing, is refused; it has no hidden states", () => {
    expect(() => ensemble([llama(1), llama(1, { vocab_size: 41 })])).toThrow("ensemble: teacher 1 knows 41 classes, teacher 0 40")
    expect(() => ensemble([])).toThrow("needs at least one teacher")
    expect(() => distill({ teacher: ensemble([llama(2)]), student: llama(1), loss: hidden(), data: data(), optimizer: sgd({ rate: 1 }), steps: 1 })).toThrow("needs the teacher's hidden states")
  })
})

test("a teacher on another device answers as it does here", async () => {
  const teacher = llama(2), there = await toDevice(teacher, referenceDevice())
  const elsewhereDevice = tensorsOf(there)[0]!.device!
  useDevice(device)
  using far = elsewhere(there, elsewhereDevice)
  const both = { loss: softTargets({ temperature: 2 }), steps: 2, data: windows(text, { batch: 1, length: 4 }) }
  close(await losses(far, both), await losses(teacher, both), 4)
  expect(() => elsewhere(teacher, elsewhereDevice)).toThrow(/the teacher has tensors on wasm, not on reference/)
})

describe("a teacher behind an address", () => {
  let server: Server, url: string, busy = 0
  const teacher = () => llama(2)
  const answer = async ({ ids, top }: Question): Promise<object> => {
    const n = asNetwork(teacher()), seen = n.see(n.parameters, tensor(ids.map((r) => [...r]), { dtype: "i32" }), { wanted: ["top"], top }).top!
    return { indices: await seen.indices.tolist(), logProbabilities: await seen.logProbabilities.tolist() }
  }
  beforeAll(async () => {
    server = createServer((request, reply) => {
      let body = ""
      request.on("data", (d) => (body += String(d))).on("end", () => {
        if (request.url === "/refuses") return void reply.writeHead(403).end("no")
        if (busy-- > 0) return void reply.writeHead(503).end("later")
        void answer(JSON.parse(body) as Question).then((a) => reply.end(JSON.stringify(request.url === "/short" ? { ...a, indices: [] } : a)))
      })
    })
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    url = `http://127.0.0.1:${(server.address() as { port: number }).port}`
  })
  afterAll(() => void server.close())
  test("teaches as it does here, also when it is busy at first", async () => {
    busy = 1
    close(await losses(httpTeacher(url, { classes: 40 })), await losses(teacher()), 4)
  })
  test("what it cannot mean is refused", async () => {
    await expect(losses(httpTeacher(`${url}/refuses`, { classes: 40 }))).rejects.toThrow(/\/refuses did not answer: 403 Forbidden: no/)
    await expect(losses(httpTeacher(`${url}/short`, { classes: 40 }))).rejects.toThrow("the teacher's indices must be [3][10][8]; one row per position, best first")
    await expect(losses(answering(() => Promise.resolve({ indices: [], logProbabilities: [] }), { classes: 40, top: 4 }))).rejects.toThrow("the loss asks for 8 classes per position, the teacher gives 4")
    const fixed = (index: number, log: number): Teacher => answering(({ ids, top }) => Promise.resolve({ indices: ids.map((r) => r.map(() => Array<number>(top).fill(index))), logProbabilities: ids.map((r) => r.map(() => Array<number>(top).fill(log))) }), { classes: 40 })
    await expect(losses(fixed(40, -1))).rejects.toThrow("the teacher named class 40 of 40")
    await expect(losses(fixed(3, 0.5))).rejects.toThrow("the teacher gave 0.5 as the logarithm of a probability")
  })
})

test("a moving average", async () => {
  expect(() => movingAverage({ decay: 1 })).toThrow("decay must be in 0 ≤ decay < 1, got 1")
  // One that keeps nothing is the student itself: nothing to learn from it.
  const steps = await losses(movingAverage({ decay: 0 }), { loss: softTargets(), optimizer: adamW({ rate: 0.01 }) })
  for (const v of steps) expect(Math.abs(v)).toBeLessThan(1e-5)
})
