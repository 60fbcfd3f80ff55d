import { fileURLToPath } from "node:url"
import protobuf from "protobufjs"

/** 16-bit floats are handed over as their bits. */
export type Data = Float32Array | Uint8Array | Uint16Array | BigInt64Array
export type Attributes = Record<string, Attribute>
/** A plain number is an integer attribute. */
type Attribute = number | string | readonly number[] | { float: number }

const schema = protobuf.loadSync(fileURLToPath(new URL("onnx.proto", import.meta.url)))
const ModelProto = schema.lookupType("onnx.ModelProto")

const elementTypes = { Float32Array: 1, Uint8Array: 2, BigInt64Array: 7, Uint16Array: 10 }
const elementType = (data: Data): number => elementTypes[data.constructor.name as keyof typeof elementTypes]

/** Writes an ONNX model node by node; values are named by the strings it hands out. */
export class Graph {
  readonly #node: object[] = []
  readonly #initializer: object[] = []
  readonly #input: object[] = []
  readonly #output: object[] = []
  #names = 0

  input(name: string, dims: readonly number[], half = false): string {
    this.#input.push(valueInfo(name, dims, half))
    return name
  }

  output(name: string, dims: readonly number[], half = false): void {
    this.#output.push(valueInfo(name, dims, half))
  }

  constant(data: Data, dims: readonly number[] = [data.length]): string {
    const name = this.#name()
    const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    this.#initializer.push({ dims, dataType: elementType(data), name, rawData })
    return name
  }

  integers(...values: number[]): string {
    return this.constant(BigInt64Array.from(values, BigInt))
  }

  scalar(value: number): string {
    return this.constant(Float32Array.of(value), [])
  }

  /** Adds a node and returns its output. */
  node(
    type: string,
    input: readonly string[],
    attributes: Attributes = {},
    { domain, output }: { domain?: string; output?: string } = {},
  ): string {
    return this.#add(type, input, attributes, [output ?? this.#name()], domain)[0]
  }

  /** Adds a node and returns its `outputs` outputs. */
  nodes(type: string, input: readonly string[], attributes: Attributes, outputs: number): string[] {
    return this.#add(
      type,
      input,
      attributes,
      Array.from({ length: outputs }, () => this.#name()),
    )
  }

  bytes(opset: number): Uint8Array {
    const graph = {
      name: "bench",
      node: this.#node,
      initializer: this.#initializer,
      input: this.#input,
      output: this.#output,
    }
    const opsetImport = [
      { domain: "", version: opset },
      { domain: "com.microsoft", version: 1 },
    ]
    return ModelProto.encode(ModelProto.fromObject({ irVersion: 10, graph, opsetImport })).finish()
  }

  #add(type: string, input: readonly string[], attributes: Attributes, output: string[], domain = ""): string[] {
    const attribute = Object.entries(attributes).map(([name, value]) => ({ name, ...attributeValue(value) }))
    this.#node.push({ opType: type, input, output, domain, attribute })
    return output
  }

  #name(): string {
    return `v${this.#names++}`
  }
}

const valueInfo = (name: string, dims: readonly number[], half: boolean): object => ({
  name,
  type: { tensorType: { elemType: half ? elementTypes.Uint16Array : elementTypes.Float32Array, shape: { dim: dims.map((dimValue) => ({ dimValue })) } } },
})

function attributeValue(value: Attribute): object {
  if (typeof value === "number") return { type: 2, i: value }
  if (typeof value === "string") return { type: 3, s: new TextEncoder().encode(value) }
  if ("float" in value) return { type: 1, f: value.float }
  return { type: 7, ints: value }
}
