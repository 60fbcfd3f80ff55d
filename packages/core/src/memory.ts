import type { Device } from "./device.ts"
import type { Storage, Tensor } from "./tensor.ts"

export interface DeviceMemory { readonly bytes: number; readonly tensors: number; readonly used?: number }
/** Live tensor memory: what users hold, per device, and what the garbage collector had to release for them. */
export interface MemoryReport {
  /** Bytes and tensors alive now. */
  readonly bytes: number
  readonly tensors: number
  /** Highest `bytes` since the start or the last {@link resetPeak}. */
  readonly peakBytes: number
  /** Tensors that were dropped without `dispose` or a scope; their memory came back late. */
  readonly collected: number
  /** Per device; `used` is what the device has handed out in all, temporaries of programs included, where it counts. */
  readonly devices: Readonly<Record<string, DeviceMemory>>
}

/** What each is called is spelled when somebody asks. */
const live = new Map<Storage, Pick<Tensor, "dtype" | "shape">>()
let bytes = 0, peakBytes = 0, collected = 0
let onLeak: ((storage: Storage, label: string) => void) | undefined

const net = new FinalizationRegistry<Storage>((storage) => {
  const of = live.get(storage)
  if (of === undefined) return
  collected++
  onLeak?.(storage, `${of.dtype}[${of.shape.join(", ")}]`)
  drop(storage)
})

function drop(storage: Storage): void {
  if (live.has(storage)) storage.device.free(storage.buffer)
  forget(storage)
}
function forget(storage: Storage): void {
  if (live.delete(storage)) bytes -= storage.bytes
}

/** Calls back for every tensor whose memory only the garbage collector released, with its dtype and shape; undefined stops it. */
export function onLeaked(fn: ((label: string, bytes: number) => void) | undefined): void {
  onLeak = fn && ((storage, label) => fn(label, storage.bytes))
}

let scopes: Set<Tensor>[] = []

/** @internal */
export function track(t: Tensor): void {
  const storage = t.storage!
  live.set(storage, { dtype: t.dtype, shape: t.shape })
  bytes += storage.bytes
  if (bytes > peakBytes) peakBytes = bytes
  net.register(t, storage, storage)
  scopes.at(-1)?.add(t)
}

/** @internal */
export const release = (t: Tensor): void => drop(detach(t))

/** @internal Takes a tensor's memory from it, for another one: it is disposed, and nothing is freed. */
export function take(t: Tensor): Storage {
  const storage = detach(t)
  forget(storage)
  t.dispose()
  return storage
}
function detach(t: Tensor): Storage {
  const storage = t.storage!
  t.storage = undefined
  net.unregister(storage)
  for (const s of scopes) s.delete(t)
  return storage
}

/** Live bytes, tensors, peak and leaks. Temporaries of programs count only as `used`; they live as long as their program. */
export function memory(): MemoryReport {
  const devices: Record<string, { bytes: number; tensors: number; used?: number }> = {}
  const counted = new Set<Device>()
  for (const { device, bytes } of live.keys()) {
    const row = (devices[device.name] ??= { bytes: 0, tensors: 0 })
    row.bytes += bytes
    row.tensors++
    if (device.used === undefined || counted.has(device)) continue
    counted.add(device)
    row.used = (row.used ?? 0) + device.used()
  }
  return { bytes, tensors: live.size, peakBytes, collected, devices }
}
export function resetPeak(): void {
  peakBytes = bytes
}

/** @internal Opens a scope; the returned function closes it and disposes what it tracked, except `keep`. */
export function enterScope(): (keep: readonly Tensor[]) => void {
  const mine = new Set<Tensor>()
  scopes.push(mine)
  return (keep) => {
    scopes = scopes.filter((s) => s !== mine)
    const outer = scopes.at(-1)
    const kept = new Set(keep)
    for (const t of [...mine]) {
      if (kept.has(t)) outer?.add(t)
      else t.dispose()
    }
  }
}
