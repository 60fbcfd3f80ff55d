// The loop that every thread runs: the steps of a command list, with a barrier after each. Threads take units in small
// portions from a shared counter, so that a slowed thread does not hold up the others.
import { ModuleBuilder, type FunctionBuilder } from "../emit/assembler.ts"

/** Words of one step of a command list. */
export const step = { function: 0, args: 4, units: 8, portion: 12, next: 16, scratch: 20, bytes: 24 } as const
/** Words of the control block at address 0. */
export const control = { arrived: 0, generation: 4, work: 128, runs: 192, mails: 196, list: 200, count: 204, stride: 208, bytes: 1024 } as const

export const phaseSignature = { params: ["i32", "i32", "i32", "i32"], results: [] } as const
/** How often a waiting thread looks before it sleeps. */
const spins = 2000

/** Exports run(list, count, thread, threads, mayWait, scratchStride). */
export function runnerModule(shared: boolean, maximumPages: number): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder()
  m.importMemory("env", "memory", { initial: 1, maximum: maximumPages, shared })
  m.importTable("env", "table", { initial: 0 })
  m.function(["i32", "i32", "i32", "i32", "i32", "i32"], [], (f, list, count, thread, threads, mayWait, stride) => {
    const [i, at, begin, end, units, generation, tries] = Array.from({ length: 7 }, () => f.local("i32"))
    f.assign(at!, list)
    f.forRange(i!, 0, count, 1, () => {
      f.get(at!); f.load("i32.load", step.units); f.set(units!)
      f.block((done) => {
        f.loop((again) => {
          f.get(at!)
          f.get(at!); f.load("i32.load", step.portion)
          if (shared) f.atomic("i32.atomic.rmw.add", step.next)
          else fetchAdd(f, step.next)
          f.tee(begin!)
          f.get(units!)
          f.op("i32.ge_u")
          f.brIf(done)
          f.get(begin!); f.get(at!); f.load("i32.load", step.portion); f.op("i32.add"); f.tee(end!)
          f.get(units!)
          f.get(end!); f.get(units!); f.op("i32.lt_u", "select")
          f.set(end!)
          f.get(at!); f.load("i32.load", step.args)
          f.get(begin!)
          f.get(end!)
          f.get(at!); f.load("i32.load", step.scratch)
          f.get(stride); f.get(thread); f.op("i32.mul", "i32.add")
          f.get(at!); f.load("i32.load", step.function)
          f.callIndirect(phaseSignature)
          f.br(again)
        })
      })
      if (shared) {
        f.get(threads); f.i32(1); f.op("i32.gt_u")
        f.if(() => {
          f.i32(0); f.atomic("i32.atomic.load", control.generation); f.set(generation!)
          f.i32(0); f.i32(1); f.atomic("i32.atomic.rmw.add", control.arrived)
          f.get(threads); f.i32(1); f.op("i32.sub", "i32.eq")
          f.if(() => {
            f.i32(0); f.i32(0); f.atomic("i32.atomic.store", control.arrived)
            f.i32(0); f.i32(1); f.atomic("i32.atomic.rmw.add", control.generation); f.op("drop")
            f.i32(0); f.i32(-1); f.atomic("memory.atomic.notify", control.generation); f.op("drop")
          }, () => {
            f.assign(tries!, 0)
            f.block((passed) => {
              f.loop((again) => {
                f.i32(0); f.atomic("i32.atomic.load", control.generation)
                f.get(generation!)
                f.op("i32.ne")
                f.brIf(passed)
                f.get(tries!); f.i32(1); f.op("i32.add"); f.tee(tries!)
                f.i32(spins)
                f.op("i32.lt_u")
                f.get(mayWait); f.op("i32.eqz", "i32.or")
                f.brIf(again)
                f.i32(0); f.get(generation!); f.i64(-1n); f.atomic("memory.atomic.wait32", control.generation); f.op("drop")
                f.br(again)
              })
            })
          })
        })
      }
      f.increment(at!, step.bytes)
    })
  }, "run")
  return m.finish()
}

/** Without shared memory: address and summand → the old value. */
function fetchAdd(f: FunctionBuilder, offset: number): void {
  const [address, by] = [f.local("i32"), f.local("i32")]
  f.set(by)
  f.set(address)
  f.get(address); f.load("i32.load", offset)
  f.get(address)
  f.get(address); f.load("i32.load", offset); f.get(by); f.op("i32.add")
  f.store("i32.store", offset)
}
