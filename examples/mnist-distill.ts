// A convolutional network learns handwritten digits, and teaches a plain one a tenth its size.
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import { adamW, compile, conv2d, gelu, linear, maxPool2d, random, realize, tensor, tensorsOf, type Tensor } from "@thimble/core"
import { distill, examples, fit, labels, network, softTargets, type Network, type Run } from "@thimble/distill"
import { open } from "@thimble/kernels"
import { defineCommand, runMain } from "citty"
import { number } from "./demo/number.ts"

type Layers = Readonly<Record<string, Tensor>>
interface Digits { readonly images: Float32Array; readonly labels: Uint8Array }

/** Images 28 × 28 in 0 … 1, and their digits, from IDX files (gzip). */
async function digits(folder: string, name: string): Promise<Digits> {
  const read = async (kind: string, header: number): Promise<Uint8Array> => gunzipSync(await readFile(join(folder, `${name}-${kind}-ubyte.gz`))).subarray(header)
  const [pixels, labels] = [await read("images-idx3", 16), await read("labels-idx1", 8)]
  return { images: Float32Array.from(pixels, (v) => v / 255), labels }
}

async function layers(shapes: Readonly<Record<string, readonly number[]>>, seed: number): Promise<Layers> {
  const key = random.key(seed)
  const made = Object.fromEntries(Object.entries(shapes).map(([name, shape], i) => [name, random.normal(random.foldIn(key, i), shape, { std: shape.length === 1 ? 0 : Math.sqrt(2 / (shape.slice(1).reduce((a, b) => a * b))) })]))
  await realize(...Object.values(made))
  return made
}
/** Two convolutions of 5 × 5, each halved in size, and two linear layers. */
const convolutional = async (seed: number): Promise<Network<Layers>> => network({
  parameters: await layers({ c1: [16, 1, 5, 5], b1: [16], c2: [32, 16, 5, 5], b2: [32], w3: [128, 512], b3: [128], w4: [10, 128], b4: [10] }, seed), dimensions: { classes: 10 },
  forward(p, x) {
    const a = maxPool2d(gelu(conv2d(x.reshape([x.shape[0]!, 1, 28, 28]), p.c1!, p.b1!)), 2).values, b = maxPool2d(gelu(conv2d(a, p.c2!, p.b2!)), 2).values
    return linear(gelu(linear(b.reshape([b.shape[0]!, 512]), p.w3!, p.b3!)), p.w4!, p.b4!)
  },
})
/** One hidden layer of 10: a tenth of the teacher's 80,202 parameters. */
const plain = async (seed: number): Promise<Network<Layers>> => network({
  parameters: await layers({ w1: [10, 784], b1: [10], w2: [10, 10], b2: [10] }, seed), dimensions: { classes: 10 },
  forward: (p, x) => linear(gelu(linear(x, p.w1!, p.b1!)), p.w2!, p.b2!),
})

/** Percent of right answers. */
async function accuracy({ see }: Network<Layers>, parameters: Layers, { images, labels }: Digits): Promise<number> {
  const run = compile((p: Layers, x: Tensor) => see(p, x, { wanted: ["logits"] }).logits!.argmax({ axis: -1 })), size = 500
  let right = 0
  for (let i = 0; i < labels.length; i += size) {
    using x = tensor(images.slice(i * 784, (i + size) * 784), { shape: [Math.min(size, labels.length - i), 784] })
    using found = await run(parameters, x) as Tensor
    ;(await found.data()).forEach((v, j) => (right += Number(v) === labels[i + j]! ? 1 : 0))
  }
  run.dispose()
  return (100 * right) / labels.length
}
const mean = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length
const shown = (x: readonly number[]): string => `${mean(x).toFixed(2)} ± ${(x.length > 1 ? Math.sqrt(x.reduce((n, v) => n + (v - mean(x)) ** 2, 0) / (x.length - 1) / x.length) : 0).toFixed(2)} %`

const command = defineCommand({
  meta: { name: "mnist-distill", description: "Distils a convolutional network that reads digits into a plain one a tenth its size." },
  args: {
    data: { type: "string", required: true, description: "Folder of the IDX files: NAME-images-idx3-ubyte.gz and NAME-labels-idx1-ubyte.gz", valueHint: "PATH" },
    train: { type: "string", default: "train10k", description: "Name of the files to train on", valueHint: "NAME" },
    test: { type: "string", default: "t10k", description: "Name of the files to test on", valueHint: "NAME" },
    epochs: { type: "string", default: "10", description: "Times that the teacher sees every image", valueHint: "N" },
    rounds: { type: "string", default: "30", description: "Times that a student does", valueHint: "N" },
    seeds: { type: "string", default: "5", description: "Students of each kind", valueHint: "N" },
    temperature: { type: "string", default: "4", description: "Temperature of soft targets", valueHint: "T" },
    device: { type: "string", default: "wasm", description: "Where to compute" },
  },
  async run({ args }) {
    const count = (name: "epochs" | "rounds" | "seeds"): number => number(name, args[name], 1)!
    const device = await open(args.device), [training, test] = [await digits(args.data, args.train), await digits(args.data, args.test)]
    const batch = 64, perRound = Math.floor(training.labels.length / batch), temperature = Number(args.temperature)
    const learning = (rounds: number, rate: number, seed: number) => {
      const steps = rounds * perRound
      return { data: examples({ inputs: training.images, shape: [784], labels: training.labels }, { batch, seed }), optimizer: adamW({ rate, weightDecay: 0.01 }), steps, rate: (step: number) => rate * 0.5 * (1 + Math.cos((Math.PI * step) / steps)) }
    }
    const done = async (start: Network<Layers>, run: Run<Layers>): Promise<readonly [number, Network<Layers>]> => {
      const { model } = await run.finish()
      return [await accuracy(start, model, test), { ...start, parameters: model }]
    }
    const first = await convolutional(0), [reached, teacher] = await done(first, fit({ model: first, loss: labels(), ...learning(count("epochs"), 0.002, 0) }))
    const size = (n: Network<Layers>): number => tensorsOf(n.parameters).reduce((a, t) => a + t.size, 0)
    console.log(`teacher, ${size(teacher).toLocaleString("en")} parameters: ${reached.toFixed(2)} %`)
    const found: Record<string, number[]> = { "labels only": [], "distilled": [], "born again of labels": [], "born again of that": [] }
    for (let seed = 0; seed < count("seeds"); seed++) {
      const start = async (n: number): Promise<Network<Layers>> => plain(100 * n + seed), how = learning(count("rounds"), 0.005, seed), loss = softTargets({ temperature, hard: 0.1 })
      const alone = await start(1), [byLabels, parent] = await done(alone, fit({ model: alone, loss: labels(), ...how }))
      const taught = await start(1), [byTeacher] = await done(taught, distill({ teacher, student: taught, loss, ...how }))
      const again = await start(2), [second, child] = await done(again, distill({ teacher: parent, student: again, loss: softTargets({ temperature: 1, hard: 0.5 }), ...how }))
      const last = await start(3), [third] = await done(last, distill({ teacher: child, student: last, loss: softTargets({ temperature: 1, hard: 0.5 }), ...how }))
      Object.values(found).forEach((list, i) => list.push([byLabels, byTeacher, second, third][i]!))
      if (seed === 0) console.log(`student, ${size(alone).toLocaleString("en")} parameters`)
    }
    for (const [name, values] of Object.entries(found)) console.log(`${name}: ${shown(values)}`)
    const gains = found.distilled!.map((v, i) => v - found["labels only"]![i]!)
    console.log(`distillation gains ${shown(gains).replace(" %", "")} points over labels, a generation ${shown(found["born again of labels"]!.map((v, i) => v - found["labels only"]![i]!)).replace(" %", "")}`)
    await device.close()
  },
})

await runMain(command)
