// Functions that read the operands of templates: at once, or in two steps between which other work is done.
import type { Shape } from "@thimble/core"
import { Statements, typeName } from "./expression.ts"
import { laneOf } from "./lanes.ts"
import type { ModuleWriter } from "./module.ts"
import type { Ahead, Lanes, Operand } from "./template/holes.ts"

export const coordinates = (shape: Shape): string[] => shape.map((_, i) => `i${i}`)
const typed = (names: readonly string[]): string => names.map((n) => `${n}: i32`).join(", ")
/** The type of several values of a scalar type. */
export const vectorType = (type: string, lanes: Lanes): string => (lanes === 1 ? type : lanes <= 4 ? `vec${lanes}<${type}>` : `array<vec4<${type}>, ${lanes / 4}>`)
function vector(type: string, values: readonly string[]): string {
  if (values.length === 1) return values[0]!
  const lanes = values.length as Lanes
  if (lanes <= 4) return `${vectorType(type, lanes)}(${values.join(", ")})`
  return `${vectorType(type, lanes)}(${Array.from({ length: lanes / 4 }, (_, i) => `vec4<${type}>(${values.slice(4 * i, 4 * i + 4).join(", ")})`).join(", ")})`
}
export const element = (name: string, lanes: Lanes, lane: number): string => (lanes === 1 ? name : lanes <= 4 ? `${name}[${lane}]` : `${name}[${lane >> 2}][${lane & 3}]`)

/** So many neighbours of an operand along an axis. */
interface Read { readonly name: string; readonly lanes: Lanes; readonly axis: number }

/** Statements that read, and the values. */
function write(module: ModuleWriter, { shape, body, type }: Operand, { lanes, axis }: Read): { readonly w: Statements; readonly result: string } {
  const size = shape[axis] ?? 1, w = new Statements(module, coordinates(shape))
  const values = Array.from({ length: lanes }, (_, lane) => (lanes === 1 ? body : laneOf(body, axis, size, lanes, lane)))
  w.expect(values)
  const own = typeName(type), nothing = type === "bool" ? "false" : type === "f32" ? "0f" : type === "i32" ? "0i" : "0u"
  const texts = values.map((e, lane) => {
    const value = w.variable(e)
    return size % lanes === 0 || lane === 0 ? value : `select(${nothing}, ${value}, i${axis} * ${lanes} + ${lane} < ${size})`
  })
  return { w, result: vector(own, texts) }
}
const keyOf = ({ name, lanes, axis }: Read): string => `${name}_${lanes}_${axis}`
const typeOf = ({ type }: Operand, { lanes }: Read): string => vectorType(typeName(type), lanes)

export function readFunction(module: ModuleWriter, operand: Operand, read: Read): string {
  return module.function(keyOf(read), (called) => {
    const { w, result } = write(module, operand, read)
    return `fn ${called}(${typed(coordinates(operand.shape))}) -> ${typeOf(operand, read)} {\n${w.lines.join("\n")}\nreturn ${result};\n}`
  })
}

/** Both functions have the same statements; in the second, those that read memory take what the first was given. */
export function aheadFunctions(module: ModuleWriter, operand: Operand, read: Read): Ahead {
  const ahead = (called: string): Ahead => ({ ask: `${called}ask`, take: `${called}take`, held: `${called}held` })
  return ahead(module.function(`${keyOf(read)}_ahead`, (called) => {
    const { ask, take, held } = ahead(called), { w, result } = write(module, operand, read), axes = typed(coordinates(operand.shape))
    const words: string[] = [], taking = [...w.lines]
    for (const { line, name, wide } of w.loads) {
      const own = wide ? [0, 1, 2, 3].map((i) => `${name}[${i}]`) : [name], places = own.map((_, i) => `held[${words.length + i}]`)
      taking[line] = `let ${name} = ${wide ? `vec4<u32>(${places.join(", ")})` : places[0]};`
      words.push(...own)
    }
    // What is constant is read from nowhere.
    if (words.length === 0) words.push("0u")
    return `alias ${held} = array<u32, ${words.length}>;
fn ${ask}(${axes}) -> ${held} {\n${w.lines.join("\n")}\nreturn ${held}(${words.join(", ")});\n}
fn ${take}(${axes}, held: ${held}) -> ${typeOf(operand, read)} {\n${taking.join("\n")}\nreturn ${result};\n}`
  }))
}
