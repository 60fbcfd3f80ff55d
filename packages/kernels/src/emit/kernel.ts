// Turns a kernel into phases: what the wasm device compiles and its threads share.
import { bytesOf, expr, flatten, rewrite, sizeOf, type Expr, type Kernel, type Scalar, type TemplateKernel } from "@thimble/core"
import type { FunctionBuilder, FunctionRef, Local } from "./assembler.ts"
import { byteOperand, type ByteOperand } from "./bytes16.ts"
import type { ConstantPool } from "./constants.ts"
import { f32ToBf16, f32ToF16, spell } from "./approx.ts"
import { ExpressionStream, storeScalar, storeVector, type Environment, type HostFunction } from "./expression.ts"
import { emitMap, isVectorizable, rowAddress } from "./map.ts"
import { operand } from "./operand.ts"
import { runsOf, type Runs } from "./runs.ts"
import { emitReduce, partialBytes } from "./reduce.ts"
import { templates } from "../template/index.ts"
import type { Features, Operand, Phase, Push, Result, Template, Writer } from "../template/holes.ts"

/** What templates need from their kernel: operands and result as holes, sizes, scratch. */
export interface Holes {
  readonly dims: Readonly<Record<string, number>>
  readonly operands: Readonly<Record<string, Operand>>
  /** An operand of small integers in byte lanes. */
  bytes(name: string): ByteOperand
  /** Of operands [rows, groups] those values that groups compute of shared words, in runs of so many groups. */
  runs(names: readonly string[], size: number): Runs
  readonly result: Result
  readonly scratch: Push
  readonly threadScratch: Push
  readonly features: Features
  readonly constants: ConstantPool
  /** An expression of the template's own, along axis 0: `load(0, …)` reads at `address`, `acc` what the stream is told. */
  compute(f: FunctionBuilder, body: Expr, position: Local, address: Local): ExpressionStream
}

/** What all kernels of a device share. */
export interface EmitContext {
  readonly host: Readonly<Record<HostFunction, FunctionRef>>
  readonly constants: ConstantPool
  readonly features: Features
}

export interface Emitted extends Template {
  /** Rough count of scalar operations, to tell kernels worth sharing from those that are not. */
  readonly work: number
}

/** Words of an argument block: parameters, scalars, then the address of the shared scratch. */
export const argumentWords = (k: Kernel): number => k.parameters.length + k.scalars.length + 1

export function emitKernel(kernel: Kernel, { host, constants, features }: EmitContext): Emitted {
  const environment = (f: FunctionBuilder): Environment => readArguments(f, kernel, { host, constants, relaxed: features.relaxed })
  const scratch: Push = (f) => {
    f.get(f.params[0]!)
    f.load("i32.load", 4 * (argumentWords(kernel) - 1))
  }
  const threadScratch: Push = (f) => f.get(f.params[3]!)
  return expr.freshExprs((): Emitted => {
    if (kernel.kind === "map") {
      const [body, into] = spell([asStored(kernel, kernel.body), ...(kernel.into === undefined ? [] : [kernel.into])])
      const { phase, threadScratchBytes } = emitMap(kernel.shape, kernel.dtype, body!, into, environment, threadScratch)
      return { phases: [phase], scratchBytes: 0, threadScratchBytes, work: sizeOf(kernel.shape) * flatten([body!]).length }
    }
    if (kernel.kind === "reduce") {
      const [body, epilogue] = spell([kernel.body, asStored(kernel, kernel.epilogue)])
      const { phases, scratchBytes } = emitReduce(kernel, body!, epilogue!, environment, { scratch, threadScratch })
      return { phases, scratchBytes, threadScratchBytes: partialBytes, work: sizeOf(kernel.shape) * sizeOf(kernel.over) * flatten([body!]).length }
    }
    return emitTemplate(kernel, environment, { scratch, threadScratch, features, constants })
  })
}

function emitTemplate(kernel: TemplateKernel, environment: (f: FunctionBuilder) => Environment, shared: Pick<Holes, "scratch" | "threadScratch" | "features" | "constants">): Emitted {
  const names = Object.keys(kernel.loads)
  const all = spell([...names.map((n) => kernel.loads[n]!.body), asStored(kernel, kernel.epilogue)])
  const environments = new Map<FunctionBuilder, Environment>()
  const env = (f: FunctionBuilder): Environment => {
    let known = environments.get(f)
    if (known === undefined) environments.set(f, (known = environment(f)))
    return known
  }
  const operands: Record<string, Operand> = {}, counts = { parameters: kernel.parameters.length, scalars: kernel.scalars.length }
  names.forEach((name, i) => (operands[name] = operand(all[i]!, kernel.loads[name]!.shape, env, counts)))
  const bytes = (name: string): ByteOperand => byteOperand(all[names.indexOf(name)]!, kernel.loads[name]!.shape, env)
  const runs: Holes["runs"] = (wanted, size) => {
    const shared = wanted.filter((name) => operands[name]?.quad !== undefined)
    const groups = shared.length === 0 ? 0 : kernel.loads[shared[0]!]!.shape[1]!
    return runsOf(new Map(shared.map((name) => [name, all[names.indexOf(name)]!])), groups, size, kernel.parameters.length, env)
  }
  const compute: Holes["compute"] = (f, body, position, address) =>
    new ExpressionStream(f, { ...env(f), parameters: [address], scalars: [] }, 0, [position], position, [body])
  const holes: Holes = { dims: kernel.dims, operands, bytes, runs, result: resultOf(kernel, all.at(-1)!, env), compute, ...shared }
  const template = templates[kernel.name]!.emit(holes)
  // The arguments are read at the start of each phase, before any branch.
  const phases = template.phases.map((p): Phase => ({ ...p, emit: (f, begin, end) => { env(f); p.emit(f, begin, end) } }))
  const loads = names.map((n) => sizeOf(kernel.loads[n]!.shape))
  return { ...template, phases, work: Math.max(sizeOf(kernel.shape), ...loads) * 16 }
}

/** Results are written at the row-major position of their coordinates, whatever axes the template sees. */
function resultOf(kernel: TemplateKernel, epilogue: Expr, env: (f: FunctionBuilder) => Environment): Result {
  const { shape, dtype } = kernel
  const bytes = bytesOf(dtype), vector = isVectorizable(epilogue)
  return {
    along(f, axis, coords, position) {
      const e = env(f)
      const stream = new ExpressionStream(f, e, axis, coords, position, [epilogue])
      const row = f.local("i32")
      const stride = shape.slice(axis + 1).reduce((a, b) => a * b, 1)
      if (axis === shape.length - 1) rowAddress(f, e.parameters[0]!, coords, shape, bytes, row)
      else {
        f.i32(0)
        shape.forEach((n, i) => {
          f.scale(n)
          if (i === axis) return
          f.get(coords[i]!)
          f.op("i32.add")
        })
        f.scale(bytes)
        f.get(e.parameters[0]!)
        f.op("i32.add")
        f.set(row)
      }
      const writer: Writer = {
        finish(lanes, accumulator, offset = 0) {
          if (lanes === 4 && !vector) {
            const one = f.local("f32")
            for (let lane = 0; lane < 4; lane++) {
              f.get(accumulator)
              f.lane("f32x4.extract_lane", lane)
              f.set(one)
              writer.finish(1, one, offset + lane)
            }
            return
          }
          stream.accumulate(accumulator)
          if (lanes === 4 && stride !== 1) {
            // Neighbours along this axis are apart in memory: one store each.
            const value = f.local("v128")
            stream.value(epilogue, 4, offset)
            f.set(value)
            for (let lane = 0; lane < 4; lane++) {
              f.address(row, position, stride * bytes)
              f.get(value)
              f.lane(dtype === "f32" ? "f32x4.extract_lane" : "i32x4.extract_lane", lane)
              storeScalar(f, dtype, (offset + lane) * stride * bytes)
            }
            return
          }
          f.address(row, position, stride * bytes)
          stream.value(epilogue, lanes, offset)
          if (lanes === 4) storeVector(f, dtype, offset * bytes)
          else storeScalar(f, dtype, offset * stride * bytes)
        },
        finishVectors(accumulators) {
          if (!vector || stride !== 1) return accumulators.forEach((a, i) => writer.finish(4, a, 4 * i))
          const values = stream.vectors(epilogue, accumulators.length, accumulators)
          const at = f.local("i32")
          f.address(row, position, bytes)
          f.set(at)
          values.forEach((value, i) => {
            f.get(at)
            f.get(value)
            storeVector(f, dtype, 4 * i * bytes)
          })
        },
      }
      return writer
    },
  }
}

/** A kernel's value in the form its dtype is stored in: the bits of 16-bit floats. */
function asStored(kernel: Kernel, value: Expr): Expr {
  if (kernel.dtype !== "f16" && kernel.dtype !== "bf16") return value
  const exact = value.op === "store" && value.dtype === kernel.dtype ? value.src[0]! : value
  const [own] = rewrite([exact])
  return kernel.dtype === "f16" ? f32ToF16(own!) : f32ToBf16(own!)
}

function readArguments(f: FunctionBuilder, kernel: Kernel, shared: Pick<Environment, "host" | "constants" | "relaxed">): Environment {
  const [args] = f.params
  const word = (n: number, type: Scalar): Local => {
    const local = f.local(type === "f32" ? "f32" : "i32")
    f.get(args!)
    f.load(type === "f32" ? "f32.load" : "i32.load", 4 * n)
    f.set(local)
    return local
  }
  const parameters = kernel.parameters.map((_, i) => word(i, "i32"))
  const scalars = kernel.scalars.map((type, i) => word(kernel.parameters.length + i, type))
  return { parameters, scalars, ...shared }
}
