// What is computed everywhere: large enough to be shared among threads, small enough for the reference device.
import { compile, crossEntropy, quantizeWeight, sgd, tensor, valueAndGrad, type Tensor } from "@thimble/core"
import { int } from "@thimble/compress"
import { encodeSafetensors, openSafetensors } from "@thimble/formats"

/** Numbers that are the same in every runtime. */
const wave = (size: number, phase: number): Float32Array => Float32Array.from({ length: size }, (_, i) => ((i * 7919 + phase * 104729) % 2003) / 1001.5 - 1)
const matrix = (rows: number, columns: number, phase: number): Tensor => tensor(wave(rows * columns, phase), { shape: [rows, columns] })
const matvec = (activations: "f32" | "int8"): Tensor => quantizeWeight(int(4, { group: 32 }), wave(384 * 512, 1), [384, 512], { activations }).apply(matrix(1, 512, 2))

/** Each gives tensors of the current device. */
export const works: Readonly<Record<string, () => readonly Tensor[] | Promise<readonly Tensor[]>>> = {
  matmul: () => [matrix(120, 96, 1).matmul(matrix(96, 80, 2))],
  "fused elementwise": () => [matrix(200, 301, 1).mul(1.5).add(matrix(1, 301, 2)).gelu().maximum(-0.1).exp()],
  softmax: () => [matrix(150, 333, 3).mul(5).softmax()],
  "int4 matvec": () => [matvec("f32")],
  "int4 matvec, int8 activations": () => [matvec("int8")],
  "functions of the host": () => [matrix(40, 50, 1).sin().add(matrix(40, 50, 2).cast("f64").sin().cast("f32"))],
  async "tensors that outgrow the memory"() {
    const x = matrix(10, 10, 1)
    let sum = x
    for (const [i, size] of [3e5, 6e5, 1.2e6].entries()) {
      const block = tensor(wave(size, i))
      sum = sum.add(x).add(block.narrow(0, size - 10, 10))
      await sum.data()
    }
    return [x, sum]
  },
  async "tensors through a file"() {
    const pieces: BlobPart[] = []
    for await (const piece of encodeSafetensors({ x: matrix(30, 40, 1) })) pieces.push(piece as Uint8Array<ArrayBuffer>)
    const file = await openSafetensors(new Blob(pieces))
    return [await file.tensor("x")]
  },
  async "training steps"() {
    type Parameters = { w: Tensor; v: Tensor }
    const x = matrix(64, 48, 1), labels = tensor(Int32Array.from({ length: 64 }, (_, i) => (i * 5) % 10))
    const optimizer = sgd({ rate: 0.1, momentum: 0.9 })
    const loss = valueAndGrad(({ w, v }: Parameters) => crossEntropy(x.linear(w).gelu().linear(v), labels))
    const step = compile((parameters: Parameters, state: ReturnType<typeof optimizer.init>) => {
      const { value, grads } = loss(parameters)
      return { ...optimizer.update(parameters, grads, state), value }
    })
    let parameters: Parameters = { w: matrix(40, 48, 2).mul(0.3), v: matrix(10, 40, 3).mul(0.3) }
    let state = optimizer.init(parameters), value = tensor(0)
    for (let i = 0; i < 3; i++) ({ parameters, state, value } = await step(parameters, state))
    return [value, parameters.w, parameters.v]
  },
}
