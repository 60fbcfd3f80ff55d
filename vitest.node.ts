// While something of WebGPU is awaited in Node, Dawn asks for it by setImmediate without a pause, which keeps a processor from
// the driver's threads and from other tests. Here it asks for a moment, then once in a millisecond.
const moment = 0.2, pause = 1
const { setImmediate: soon, setTimeout: later } = globalThis
const { toString } = Function.prototype
/** When it began to ask, and when it last did: what is awaited anew later has a moment of its own. */
let begun = 0, last = 0

globalThis.setImmediate = Object.assign((callback: (...args: unknown[]) => void, ...args: unknown[]) => {
  // What Dawn hands over is no JavaScript, and takes nothing: `resolve` of a promise, which is none either, takes a value.
  if (callback.length > 0 || !toString.call(callback).endsWith("{ [native code] }")) return soon(callback, ...args)
  const now = performance.now()
  if (now - last > 2 * pause) begun = now
  last = now
  return now - begun < moment ? soon(callback, ...args) : (later(callback, pause, ...args) as unknown as NodeJS.Immediate)
}, soon)
