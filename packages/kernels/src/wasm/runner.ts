// How a program's steps are run. The calling thread goes through the list and never waits for anyone to begin: it does
// small steps alone, and opens large ones to the other threads, which take portions of the units from a shared counter as
// long as there are any. A thread that sleeps, or is held up, is not missed; only portions that were taken are waited for.
import { ModuleBuilder, type FunctionBuilder, type Local } from "../emit/assembler.ts"

/** Words of one step of a command list. A portion of all units is a step for one thread. */
export const step = { function: 0, args: 4, units: 8, portion: 12, scratch: 16, bytes: 20 } as const

/**
 * Control block at address 0, a cache line for what different threads write. `ticket` (i64) is the number of the open step,
 * shifted, and of the next portion of it: whoever adds one to it has taken that portion. As no step has the number of
 * another, taking a portion also proves that what was read of the step is still so.
 */
export const control = {
  ticket: 0, done: 64, waiting: 128, failed: 132, step: 192, stride: 196, work: 256, mails: 260, asleep: 320, bytes: 1024,
} as const
/** The portion of a ticket while no step is open: all 24 bits of it. */
export const closed = (1 << 24) - 1

export const phaseSignature = { params: ["i32", "i32", "i32", "i32"], results: [] } as const
/** How often a thread looks before it sleeps: some 150 µs, more than what lies between two steps, or two programs run in turn. */
const spins = 200_000

/**
 * Exports run(list, count, mayWait, stride), for the calling thread, and help(thread, mails), for the others: returns when
 * there has been nothing to do for a while, or the count of mails is another. Without shared memory there is only the caller.
 */
export function runnerModule(shared: boolean, maximumPages: number): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder()
  m.importMemory("env", "memory", { initial: 1, maximum: maximumPages, shared })
  m.importTable("env", "table", { initial: 0 })
  m.function(["i32", "i32", "i32", "i32"], [], (f, list, count, mayWait, stride) => {
    const at = f.local("i32"), i = f.local("i32"), units = f.local("i32"), none = f.local("i32")
    f.assign(at, list!)
    if (shared) { f.i32(control.stride); f.get(stride!); f.store("i32.store") }
    f.forRange(i, 0, count!, 1, () => {
      f.get(at); f.load("i32.load", step.units); f.set(units)
      const alone = (): void => call(f, at, none, none, units)
      if (!shared) alone()
      else {
        f.get(at); f.load("i32.load", step.portion); f.get(units); f.op("i32.ge_u")
        f.if(alone, () => together(f, at, units, mayWait!))
      }
      f.increment(at, step.bytes)
    })
  }, "run")
  if (shared) m.function(["i32", "i32"], [], (f, thread, mails) => help(f, thread!, mails!), "help")
  return m.finish()
}

/** Does units [begin, end) of the step at `at` on a thread. */
function call(f: FunctionBuilder, at: Local, thread: Local, begin: Local, end: Local): void {
  f.get(at); f.load("i32.load", step.args)
  f.get(begin)
  f.get(end)
  f.get(at); f.load("i32.load", step.scratch)
  f.i32(control.stride); f.load("i32.load"); f.get(thread); f.op("i32.mul", "i32.add")
  f.get(at); f.load("i32.load", step.function)
  f.callIndirect(phaseSignature)
}

/** begin, end = the units of a portion; pushes whether there are any. */
function portion(f: FunctionBuilder, at: Local, number: () => void, units: Local, begin: Local, end: Local): void {
  f.get(at); f.load("i32.load", step.portion); f.tee(end)
  number(); f.op("i32.mul"); f.tee(begin)
  f.get(end); f.op("i32.add"); f.set(end)
  f.get(units); f.get(end); f.get(units); f.get(end); f.op("i32.lt_u", "select"); f.set(end)
  f.get(begin); f.get(units); f.op("i32.lt_u")
}

/** Opens a step, works on it, closes it. */
function together(f: FunctionBuilder, at: Local, units: Local, mayWait: Local): void {
  const [begin, end, thread, done, tries] = Array.from({ length: 5 }, () => f.local("i32")) as [Local, Local, Local, Local, Local]
  const ticket = f.local("i64")
  f.i32(0); f.i32(0); f.atomic("i32.atomic.store", control.done)
  f.i32(0); f.get(at); f.store("i32.store", control.step)
  // The ticket is closed, all bits of its portion set: one more is portion 0 of the next step.
  f.i32(0); f.i64(1n); f.atomic("i64.atomic.rmw.add", control.ticket); f.op("drop")
  f.i32(0); f.atomic("i32.atomic.load", control.asleep)
  f.if(() => {
    f.i32(0); f.i32(1); f.atomic("i32.atomic.rmw.add", control.work); f.op("drop")
    f.i32(0); f.i32(-1); f.atomic("memory.atomic.notify", control.work); f.op("drop")
  })
  f.assign(thread, 0)
  f.block((taken) => f.loop((again) => {
    f.i32(0); f.i64(1n); f.atomic("i64.atomic.rmw.add", control.ticket); f.set(ticket)
    portion(f, at, () => portionOf(f, ticket), units, begin, end)
    f.op("i32.eqz"); f.brIf(taken)
    call(f, at, thread, begin, end)
    f.i32(0); f.get(end); f.get(begin); f.op("i32.sub"); f.atomic("i32.atomic.rmw.add", control.done); f.op("drop")
    f.br(again)
  }))
  f.assign(tries, 0)
  f.block((passed) => f.loop((again) => {
    f.i32(0); f.atomic("i32.atomic.load", control.done); f.tee(done)
    f.get(units); f.op("i32.eq"); f.brIf(passed)
    f.i32(0); f.atomic("i32.atomic.load", control.failed)
    f.if(() => f.op("unreachable"))
    f.get(tries); f.i32(1); f.op("i32.add"); f.tee(tries)
    f.i32(spins); f.op("i32.lt_u")
    f.get(mayWait); f.op("i32.eqz", "i32.or")
    f.brIf(again)
    f.i32(0); f.i32(1); f.atomic("i32.atomic.store", control.waiting)
    f.i32(0); f.get(done); f.i64(-1n); f.atomic("memory.atomic.wait32", control.done); f.op("drop")
    f.i32(0); f.i32(0); f.atomic("i32.atomic.store", control.waiting)
    f.br(again)
  }))
  f.i32(0); f.get(ticket); f.i64(BigInt(closed)); f.op("i64.or"); f.atomic("i64.atomic.store", control.ticket)
}

/** Pushes the number of the portion that a ticket stands at. */
function portionOf(f: FunctionBuilder, ticket: Local): void {
  f.get(ticket); f.op("i32.wrap_i64"); f.i32(closed); f.op("i32.and")
}

function help(f: FunctionBuilder, thread: Local, mails: Local): void {
  const [at, units, begin, end, tries] = Array.from({ length: 5 }, () => f.local("i32")) as [Local, Local, Local, Local, Local]
  const ticket = f.local("i64")
  f.assign(tries, 0)
  f.loop((again) => {
    f.i32(0); f.atomic("i64.atomic.load", control.ticket); f.set(ticket)
    portionOf(f, ticket); f.i32(closed); f.op("i32.ne")
    f.if(() => {
      f.i32(control.step); f.load("i32.load"); f.set(at)
      f.get(at); f.load("i32.load", step.units); f.set(units)
      portion(f, at, () => portionOf(f, ticket), units, begin, end)
      f.if(() => {
        f.assign(tries, 0)
        f.i32(0); f.get(ticket); f.get(ticket); f.i64(1n); f.op("i64.add"); f.atomic("i64.atomic.rmw.cmpxchg", control.ticket)
        f.get(ticket); f.op("i64.ne"); f.brIf(again)
        call(f, at, thread, begin, end)
        f.get(end); f.get(begin); f.op("i32.sub"); f.set(begin)
        f.i32(0); f.get(begin); f.atomic("i32.atomic.rmw.add", control.done)
        f.get(begin); f.op("i32.add"); f.get(units); f.op("i32.eq")
        f.i32(0); f.atomic("i32.atomic.load", control.waiting); f.op("i32.and")
        f.if(() => { f.i32(0); f.i32(-1); f.atomic("memory.atomic.notify", control.done); f.op("drop") })
        f.br(again)
      })
    })
    f.get(tries); f.i32(1); f.op("i32.add"); f.tee(tries)
    f.i32(spins); f.op("i32.lt_u")
    f.i32(0); f.atomic("i32.atomic.load", control.mails); f.get(mails); f.op("i32.eq", "i32.and")
    f.brIf(again)
  })
}
