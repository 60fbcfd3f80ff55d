import { fail, random, tensor } from "@thimble/core"
import { sha256 } from "@thimble/models"
import { type Data } from "./data.ts"

export interface ExampleOptions {
  /** Examples per batch. */
  readonly batch: number
  /** Decides the order of each round through the examples; 0 unless given. */
  readonly seed?: number
}
export interface Examples {
  /** One example after the other: floats, or ids of tokens. */
  readonly inputs: Float32Array | Int32Array
  /** Shape of one example. */
  readonly shape: readonly number[]
  /** The class of each, or the classes. */
  readonly labels?: Int32Array | Uint8Array | readonly number[]
  /** Shape of one example's labels; one number unless given. */
  readonly labelShape?: readonly number[]
}

/** Examples of classes, in an order that changes from one round to the next; what does not fill a batch is left for the next round. */
export function examples({ inputs, shape, labels, labelShape = [] }: Examples, { batch, seed = 0 }: ExampleOptions): Data {
  const size = shape.reduce((a, b) => a * b, 1), each = labelShape.reduce((a, b) => a * b, 1), count = inputs.length / size, classes = labels && Int32Array.from(labels)
  if (!Number.isInteger(count) || count < 1) fail("shape", "examples", `${inputs.length} numbers are no examples of [${shape.join(", ")}]`)
  if (classes !== undefined && classes.length !== count * each) fail("shape", "examples", `${classes.length} labels for ${count} examples`)
  if (!(Number.isInteger(batch) && batch >= 1 && batch <= count)) fail("value", "examples", `batch must be a whole number from 1 to ${count}, got ${batch}`)
  const batches = Math.floor(count / batch), key = random.key(seed)
  let id: Promise<string> | undefined, order: { readonly round: number; readonly places: Promise<ArrayLike<number>> } | undefined
  const orderOf = (round: number): Promise<ArrayLike<number>> => {
    if (order?.round !== round) {
      const places = random.permutation(random.foldIn(key, round), count)
      order = { round, places: places.data().finally(() => places.dispose()) }
    }
    return order!.places
  }
  return {
    batches,
    id: () => (id ??= sha256(`examples ${JSON.stringify([batch, seed, shape])}`, inputs, ...(classes ? [classes] : []))),
    async batch(index) {
      const places = await orderOf(Math.floor(index / batches)), first = (index % batches) * batch
      const chosen = new (inputs.constructor as Float32ArrayConstructor | Int32ArrayConstructor)(batch * size), right = new Int32Array(batch * each), numbers = new Int32Array(batch)
      for (let i = 0; i < batch; i++) {
        const at = numbers[i] = places[first + i]!
        chosen.set(inputs.subarray(at * size, (at + 1) * size), i * size)
        if (classes) right.set(classes.subarray(at * each, (at + 1) * each), i * each)
      }
      return { inputs: tensor(chosen, { shape: [batch, ...shape] }), numbers: tensor(numbers), ...(classes && { labels: tensor(right, { shape: [batch, ...labelShape] }) }) }
    },
  }
}
