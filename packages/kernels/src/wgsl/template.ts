// Template kernels: the functions that fill the holes.
import { bytesOf, expr, fail, flatten, rewrite, type Expr, type TemplateKernel } from "@thimble/core"
import { entryPoint, type EmittedPass } from "./emitted.ts"
import { asBits, beforeStore, Statements, typeName } from "./expression.ts"
import { contiguousAxis, laneOf } from "./lanes.ts"
import { aheadFunctions, coordinates, element, readFunction, vectorType } from "./reads.ts"
import { halvesFunction } from "./halves.ts"
import { layoutOf } from "./layout.ts"
import { packedFunction } from "./packed.ts"
import { isMathName, writeModule, type ModuleWriter } from "./module.ts"
import { templateFor } from "./template/index.ts"
import type { Features, Lanes, Operand, PassHoles } from "./template/holes.ts"

const scratchBytes = { "f32": 4, "u32": 4, "i32": 4, "vec4<f32>": 16, "vec4<u32>": 16 } as const

export function emitTemplate(kernel: TemplateKernel, features: Features): { passes: EmittedPass[]; scratch: Record<string, number> } {
  const template = templateFor(kernel.name, kernel.dims, features) ?? fail("internal", kernel.name, "has no template on the webgpu device")
  const names = Object.keys(kernel.loads)
  const all = rewrite([...names.map((n) => kernel.loads[n]!.body), beforeStore(kernel.epilogue, kernel.dtype)])
  const operands = Object.fromEntries(names.map((name, i): [string, Operand] => {
    const { shape } = kernel.loads[name]!, body = all[i]!
    return [name, { shape, body, type: body.type, contiguous: contiguousAxis(body, shape) }]
  }))
  const epilogue = all.at(-1)!
  const scratch: Record<string, number> = {}
  const passes = template.passes({ dims: kernel.dims, kernel, operands, features })
  const emit = (scratches: number): EmittedPass[] => passes.map((pass) => ({
    units: pass.units,
    ...writeModule(kernel, features, scratches, (module) => {
      let subgroups = false
      const along = (name: string): number => operands[name]!.contiguous ?? operands[name]!.shape.length - 1
      const holes: PassHoles = {
        read: (name, lanes = 1, axis = along(name)) => readFunction(module, operands[name]!, { name, lanes, axis }),
        ahead: (name, lanes = 1, axis = along(name)) => aheadFunctions(module, operands[name]!, { name, lanes, axis }),
        packed: (name) => packedFunction(module, name, operands[name]!),
        halves: (name, axis) => halvesFunction(module, name, operands[name]!, axis),
        finish: (lanes = 1) => finishFunction(module, kernel, epilogue, lanes),
        scratch(name, type, size) {
          scratch[name] = size * scratchBytes[type]
          return module.scratch(name, type)
        },
        math: (name) => (isMathName(name) ? module.math(name) : fail("internal", "webgpu", `no function ${name}`)),
        enable(extension) {
          subgroups ||= extension === "subgroups"
          module.enable(extension)
        },
      }
      const { body, declarations } = pass.write(holes)
      return entryPoint(pass, body, { subgroups, ...(declarations !== undefined && { declarations }) })
    }),
  }))
  const first = emit(0)
  // Scratch takes bindings of its own, from the parameters if need be.
  const scratches = Object.keys(scratch).length
  return { passes: scratches > 0 && layoutOf(kernel, features, scratches).packed.length > 0 ? emit(scratches) : first, scratch }
}

function finishFunction(module: ModuleWriter, kernel: TemplateKernel, epilogue: Expr, lanes: Lanes): string {
  return module.function(`finish_${lanes}`, (called) => {
    const { shape, dtype } = kernel
    const axes = coordinates(shape), axis = shape.length - 1, size = shape[axis] ?? 1
    const bytes = bytesOf(dtype), accumulators = accumulatorTypes(kernel, epilogue)
    // Whole words, if lanes fill them and never cross the end of the axis.
    const whole = bytes === 4 || ((lanes * bytes) % 4 === 0 && size % lanes === 0)
    const bits: string[] = [], blocks: string[] = []
    const w = new Statements(module, axes)
    const position = (lane: number): Expr => {
      const coords = shape.map((n, i) => expr.index(i, n))
      if (lanes > 1) coords[axis] = expr.add(expr.mul(expr.index(axis, Math.ceil(size / lanes)), expr.int(lanes)), expr.int(lane))
      return coords.reduce((at, c, i) => expr.add(expr.mul(at, expr.int(shape[i]!)), c), expr.int(0))
    }
    for (let lane = 0; lane < lanes; lane++) {
      // Each lane has accumulators of its own, so nothing is shared between them.
      const own = new Statements(module, axes, { accumulators: accumulators.map((_, i) => element(`acc${i}`, lanes, lane)) })
      const value = lanes === 1 ? epilogue : laneOf(epilogue, axis, size, lanes, lane)
      own.expect([value])
      const text = asBits(module, dtype, own.variable(value))
      w.lines.push(...own.lines)
      const name = w.declare(text)
      bits.push(name)
      if (whole) continue
      const write = module.writePart(w.declare(w.value(position(lane))), name, bytes)
      blocks.push(size % lanes === 0 || lane === 0 ? write : `if (i${axis} * ${lanes} + ${lane} < ${size}) { ${write} }`)
    }
    if (whole) blocks.push(...writeWords(module, w, { bits, per: 4 / bytes, lanes, size, axis, at: position(0) }))
    const given = [...axes.map((name) => `${name}: i32`), ...accumulators.map((type, i) => `acc${i}: ${vectorType(type, lanes)}`)]
    return `fn ${called}(${given.join(", ")}) {\n${w.lines.join("\n")}\n${blocks.join("\n")}\n}`
  })
}

interface Words { readonly bits: readonly string[]; readonly per: number; readonly lanes: number; readonly size: number; readonly axis: number; readonly at: Expr }

function writeWords(module: ModuleWriter, w: Statements, { bits, per, lanes, size, axis, at }: Words): string[] {
  const words = Array.from({ length: lanes / per }, (_, i) => bits.slice(i * per, (i + 1) * per).map((b, lane) => (lane === 0 ? b : `(${b} << ${(lane * 32) / per}u)`)).join(" | "))
  const first = per === 1 ? at : expr.div(at, expr.int(per))
  if (words.length % 4 === 0 && size % lanes === 0 && expr.rem(first, expr.int(4)).op === "const") {
    const quad = w.declare(w.value(expr.div(first, expr.int(4))))
    return Array.from({ length: words.length / 4 }, (_, i) => module.writeQuad(`${quad} + ${i}`, words.slice(4 * i, 4 * i + 4)))
  }
  const start = w.declare(w.value(first))
  return words.map((word, i) => {
    const write = module.writeWord(`${start} + ${i}`, word)
    return i === 0 || size % lanes === 0 ? write : `if (i${axis} * ${lanes} + ${i * per} < ${size}) { ${write} }`
  })
}

/** The types of what a template accumulates: those of `acc`, and f32 where the epilogue does not look at it. */
function accumulatorTypes({ pair }: TemplateKernel, epilogue: Expr): string[] {
  const types = pair === true ? ["f32", "f32"] : ["f32"]
  for (const e of flatten([epilogue])) if (e.op === "acc") types[e.value] = typeName(e.type)
  return types
}
