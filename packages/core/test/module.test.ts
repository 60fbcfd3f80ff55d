import fc from "fast-check"
import { describe, expect, test } from "vitest"
import {
  adamW, add, compile, denseWeight, leavesOf, linear, loadState, mapTree, matmul, mean, mul, partition, realize, square, stateDict, sub, tanh, tensor,
  tensorsOf, ThimbleError, valueAndGrad, zerosLike, type OptimizerState, type Tensor, type Weight,
} from "../src/index.ts"

const values = async (t: Tensor): Promise<number[]> => [...(await t.data())]
const trees = fc.letrec((tie) => ({
  tree: fc.oneof({ maxDepth: 3 }, fc.constantFrom("T", "T", 3, undefined, "text"), tie("list"), tie("record")),
  list: fc.array(tie("tree"), { maxLength: 3 }),
  record: fc.dictionary(fc.stringMatching(/^[a-z]{1,3}$/), tie("tree"), { maxKeys: 3 }),
}))
/** A tree with a new tensor in place of every "T". */
const grow = (form: unknown): unknown =>
  form === "T" ? tensor([0]) : Array.isArray(form) ? form.map(grow) : form !== null && typeof form === "object" ? Object.fromEntries(Object.entries(form).map(([k, v]) => [k, grow(v)])) : form

describe("trees", () => {
  test("mapping keeps the form and visits what leavesOf lists, in its order", () => {
    fc.assert(fc.property(trees.tree, (form) => {
      const tree = grow(form), visited: string[] = []
      const copy = mapTree(tree, (t, path) => (visited.push(path), t))
      expect(copy).toEqual(tree)
      expect(visited).toEqual(leavesOf(tree).map((l) => l.path))
    }))
  })
  test("loading a state dict is its inverse: names find their places again", () => {
    fc.assert(fc.property(trees.tree, (form) => {
      const tree = grow(form), state = stateDict(tree)
      const other = Object.fromEntries(Object.keys(state).reverse().map((k) => [k, tensor([1])]))
      const loaded = loadState(tree, other)
      expect(stateDict(loaded)).toEqual(other)
      expect(Object.keys(stateDict(loaded))).toEqual(Object.keys(state))
      expect(leavesOf(loaded).every(({ path, tensor: t }) => t === other[path])).toBe(true)
    }))
  })
  test("names are dotted paths, also through weights", () => {
    const model = { embed: denseWeight(tensor([[1, 2]])), layers: [{ norm: tensor([1]) }, { norm: tensor([2]) }], size: 4, act: tanh }
    expect(Object.keys(stateDict(model))).toEqual(["embed.values", "layers.0.norm", "layers.1.norm"])
    const doubled = mapTree(model, (t) => mul(t, 2))
    expect(doubled.act).toBe(tanh)
    expect(doubled.size).toBe(4)
    expect(doubled.embed.shape).toEqual([1, 2])
  })
})

describe("stateDict and loadState", () => {
  const tied = tensor([[1, 2], [3, 4]])
  const model = { embed: tied, layers: [{ w: tensor([1, 2]) }], head: tied }

  test("a tied tensor is named once, by its first place, and loaded into both", () => {
    expect(Object.keys(stateDict(model))).toEqual(["embed", "layers.0.w"])
    const loaded = loadState(model, { embed: zerosLike(tied), "layers.0.w": tensor([5, 6]) })
    expect(loaded.head).toBe(loaded.embed)
  })
  test("missing, unknown and misshapen names are one error", () => {
    const bad = { embed: tensor([1, 2]), "layers.1.w": tensor([1]), head: tied }
    expect(() => loadState(model, bad)).toThrow(ThimbleError)
    expect(() => loadState(model, bad)).toThrow("loadState: missing: layers.0.w; unknown: layers.1.w, head; wrong shape: embed [2] instead of [2, 2]")
  })
})

describe("partition", () => {
  const model = () => {
    const embed = tensor([[0.1, 0.2], [0.3, 0.4], [0.5, -0.6]])
    return { embed, up: { w: tensor([[0.5, -0.2], [0.1, 0.3]]), b: tensor([0, 0]) }, head: embed, order: tensor([2, 0, 1], { dtype: "i32" }) }
  }
  test("every tensor is on one side, integers on the frozen one, and loadState joins them again", () => {
    const m = model(), { trainable, frozen } = partition(m, (path) => path.startsWith("up") || path === "order")
    expect([Object.keys(trainable), Object.keys(frozen)]).toEqual([["up.w", "up.b"], ["embed", "order"]])
    const joined = loadState(m, { ...trainable, ...frozen })
    expect(leavesOf(joined)).toEqual(leavesOf(m))
    expect(joined.head).toBe(joined.embed)
  })
  test("a predicate that picks nothing is an error that shows a name", () => {
    expect(() => partition(model(), (path) => path === "upw")).toThrow("partition: nothing is left to train among 4 tensors; names are like 'embed'")
    expect(() => partition({}, () => true)).toThrow("the model has no tensors")
  })

  test("training the trainable part, compiled, leaves the frozen part alone and tied weights tied", async () => {
    const m = model(), rule = adamW({ rate: 0.05, decays: (path) => path.endsWith("w") })
    const x = tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]]), y = tensor([[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    await realize(x, y)
    type Named = Readonly<Record<string, Tensor>>
    type State = OptimizerState<"first" | "second" | "largest">
    const loss = (t: Named, f: Named): Tensor => {
      const { embed, up, head } = loadState(m, { ...t, ...f })
      expect(head).toBe(embed)
      return mean(square(sub(linear(tanh(add(matmul(matmul(x, embed), up.w), up.b)), head), y)))
    }
    const step = compile<[Named, Named, State], { value: Tensor; parameters: Named; state: State }>((t, f, s) => {
      const { value, grads } = valueAndGrad(loss)(t, f)
      return { value, ...rule.update(t, grads, s) }
    }, { donate: [0, 2] })
    const { trainable, frozen } = partition(m, (path) => path === "embed" || path === "up.w")
    let t: Named = trainable, s = rule.init(t)
    expect(Object.keys(s.first)).toEqual(["embed", "up.w"])
    const losses: number[] = []
    for (let i = 0; i < 30; i++) {
      const next = await step(t, frozen, s)
      losses.push(await next.value.item())
      t = next.parameters
      s = next.state
    }
    expect(losses.at(-1)!).toBeLessThan(losses[0]! / 2)
    expect(await values(frozen["up.b"]!)).toEqual([0, 0])
    const trained = loadState(m, { ...t, ...frozen })
    expect(trained.head).toBe(trained.embed)
    expect(await values(trained.order)).toEqual([2, 0, 1])
  })
  test("parts of weights are partitioned by name, too", async () => {
    const m: { layer: Weight } = { layer: denseWeight(tensor([[1, 2]])) }
    const { trainable } = partition(m, (path) => path === "layer.values")
    const { grads } = valueAndGrad((t: typeof trainable) => mean(loadState(m, { ...t }).layer.apply(tensor([[3, 5]]))))(trainable)
    expect(await values(grads["layer.values"]!)).toEqual([3, 5])
    expect(tensorsOf(grads)).toHaveLength(1)
  })
})
