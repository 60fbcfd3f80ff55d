// Where WebGPU comes from: the browser or Deno has it, in Node it is the npm package `webgpu` (Dawn).
import { fail } from "@thimble/core"
import type { Features } from "../wgsl/template/holes.ts"

export interface AdapterOptions {
  /** A part of the adapter's name, in any case; the first that has it. */
  readonly adapter?: string
  readonly powerPreference?: GPUPowerPreference
  /** Further options of Dawn, in Node: `backend=null`, say, compiles and computes nothing. */
  readonly dawn?: readonly string[]
  /** What to take for granted instead of asking the adapter or trying it out: kernels for less than it has, in tests. */
  readonly features?: Partial<Features>
  /** Whether kernels that do not depend on each other share dispatches in programs that run on; unless the adapter is software, where starting one costs nothing. */
  readonly merges?: boolean
}

/** Everything `create` of the npm package returned. A device outlives its instance only until the next collection of garbage: then the process dies. */
const instances = new Map<string, GPU>()

/** What the npm package exports, if it is the one that is meant. */
interface Dawn { create?(options: string[]): GPU }
const remedy = "npm install webgpu@0.6.2"

/** Features that stand behind a flag are wanted where they exist, and timestamps as the driver gives them. */
const asked = "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia", refused = "disable-dawn-features=timestamp_quantization"
/**
 * On software Dawn is to set workgroup memory to zero by a loop: asked to do it, SwiftShader writes out a store for each word, and takes ten
 * times as long to make a kernel that has 16 KiB (attention of many queries: 3.1 s, 0.25 s with the loop).
 */
const refusedOnSoftware = "use_vulkan_zero_initialize_workgroup_memory_extension"

const isNode = (): boolean => typeof process === "object" && typeof process.versions?.node === "string" && !("Deno" in globalThis) && !("Bun" in globalThis)

/** What an instance of Dawn is made for. */
interface Purpose { readonly adapter?: string; readonly software: boolean }

/** The entry to WebGPU; throws where there is none. */
async function gpuInstance({ dawn = [] }: AdapterOptions, { adapter, software }: Purpose): Promise<GPU> {
  const own = ownInstance()
  if (own !== undefined) return own
  if (!isNode()) fail("device", "open", "WebGPU is not available here (no navigator.gpu)", "use a browser that has it, in a secure context, or open('wasm')")
  const options = [asked, software ? `${refused},${refusedOnSoftware}` : refused, ...dawn, ...(adapter === undefined ? [] : [`adapter=${adapter}`])]
  const key = options.join(" ")
  let instance = instances.get(key)
  if (instance === undefined) instances.set(key, (instance = start(await loadDawn(), options)))
  return instance
}
function start({ create }: Dawn, options: string[]): GPU {
  if (typeof create !== "function") fail("device", "open", "the package 'webgpu' has no function create", remedy)
  try {
    return create(options)
  } catch (e) {
    return fail("device", "open", `the package 'webgpu' does not start (${firstLine(e)})`, remedy)
  }
}
const ownInstance = (): GPU | undefined => (globalThis.navigator as Navigator | undefined)?.gpu

async function loadDawn(): Promise<Dawn> {
  // No bundler is to follow this name, and no browser to fetch it.
  const name = "webgpu"
  try {
    return (await import(/* @vite-ignore */ /* webpackIgnore: true */ name)) as Dawn
  } catch (e) {
    const missing = (e as { code?: string }).code === "ERR_MODULE_NOT_FOUND"
    return fail("device", "open", missing ? "the optional package 'webgpu' is not installed" : `the package 'webgpu' cannot be loaded (${firstLine(e)})`,
      missing ? remedy : "it has binaries for Linux (x64, arm64), macOS and Windows, and needs their usual C++ runtime; webgpu@0.6.2 asks for the least of it")
  }
}

export const firstLine = (e: unknown): string => (e instanceof Error ? e.message : String(e)).split("\n")[0]!

/** An adapter, and where it comes from. */
export interface Found { readonly adapter: GPUAdapter; readonly instance: GPU }

/** The adapter that the options ask for. */
export async function findAdapter(options: AdapterOptions): Promise<Found> {
  const found = await firstAdapter(options, { software: false })
  return ownInstance() === undefined && isSoftware(found.adapter) ? firstAdapter(options, { software: true }) : found
}
async function firstAdapter(options: AdapterOptions, purpose: Purpose): Promise<Found> {
  const { adapter: wanted, powerPreference } = options
  const request: GPURequestAdapterOptions = powerPreference === undefined ? {} : { powerPreference }
  if (wanted !== undefined && ownInstance() === undefined) return namedAdapter(options, wanted, { request, purpose })
  const instance = await gpuInstance(options, purpose)
  const adapter = await instance.requestAdapter(request).catch((e: unknown) => fail("device", "open", `WebGPU gives no adapter (${firstLine(e)})`, "open('wasm') computes on the CPU"))
  if (adapter === null)
    return fail("device", "open", "WebGPU found no adapter", isNode() ? "Linux needs a Vulkan driver and libvulkan.so.1 (apt-get install libvulkan1); VK_DRIVER_FILES names a driver's file" : "see the browser's page about its GPU, or open('wasm')")
  if (wanted !== undefined && !adapterName(adapter).toLowerCase().includes(wanted.toLowerCase()))
    return fail("device", "open", `no adapter with '${wanted}' in its name, this one is ${adapterName(adapter)}`, "browsers choose the adapter themselves; powerPreference may sway them")
  return { adapter, instance }
}

/** Dawn finds an adapter by a part of the name it lists, letter by letter, or throws and tells the names. */
async function namedAdapter(options: AdapterOptions, wanted: string, { request, purpose }: { readonly request: GPURequestAdapterOptions; readonly purpose: Purpose }): Promise<Found> {
  let names: string[] = []
  const find = async (name: string): Promise<Found | undefined> => {
    const instance = await gpuInstance(options, { ...purpose, adapter: name })
    try {
      const adapter = await instance.requestAdapter(request)
      return adapter === null ? undefined : { adapter, instance }
    } catch (e) {
      if (names.length === 0) names = Array.from(String((e as Error).message).matchAll(/name: '([^']*)'/g), (m) => m[1]!)
      return undefined
    }
  }
  const exact = await find(wanted)
  if (exact !== undefined) return exact
  // What an adapter calls itself, which is what `devices` and errors tell, may have other words than the name that Dawn lists.
  const listed = [...new Set(names)], has = (name: string): boolean => name.toLowerCase().includes(wanted.toLowerCase())
  for (const name of listed.toSorted((a, b) => Number(has(b)) - Number(has(a)))) {
    const found = await find(name)
    if (found !== undefined && (has(name) || has(adapterName(found.adapter)))) return found
  }
  return fail("device", "open", `WebGPU found no adapter with '${wanted}' in its name`, listed.length > 0 ? `there are ${listed.join(", ")}` : "Linux needs a Vulkan driver and libvulkan.so.1 (apt-get install libvulkan1); VK_DRIVER_FILES names a driver's file")
}

/** What an adapter calls itself, as far as it tells. */
export function adapterName(adapter: GPUAdapter): string {
  // Older browsers tell nothing.
  const info = adapter.info as GPUAdapterInfo | undefined
  const words = [info?.vendor, info?.architecture, info?.device, info?.description].filter((w) => w !== undefined && w !== "")
  return words.length === 0 ? "an unnamed adapter" : words.join(" ")
}
/** Whether the driver computes on the CPU, as SwiftShader, llvmpipe (lavapipe) and WARP do. */
export function isSoftware(adapter: GPUAdapter): boolean {
  return adapter.info?.isFallbackAdapter === true || /swiftshader|llvmpipe|lavapipe|basic render driver/i.test(adapterName(adapter))
}
