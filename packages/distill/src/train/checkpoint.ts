import { fail, loadState, stateDict, tensorsOf } from "@thimble/core"
import { fileSystem, openSafetensors, saveFile, saveSafetensors } from "@thimble/formats"
import type { History } from "./options.ts"

/** What a checkpoint says besides tensors: nothing that another run of the same steps would say otherwise. */
export interface Progress {
  /** Steps made. */
  readonly step: number
  /** What has to be the same to go on. */
  readonly settings: Readonly<Record<string, unknown>>
  readonly history: History
  /** Factor of the loss in f16, and steps since it changed. */
  readonly scale: number
  readonly steady: number
  /** The best score so far, and evaluations since. */
  readonly best?: { readonly step: number; readonly score: number; readonly since: number }
}

const nameOf = (step: number): string => `step-${String(step).padStart(8, "0")}`
const pattern = /^step-\d{8,}$/

/** Checkpoints in a folder, the earliest first. */
async function existing(folder: string): Promise<string[]> {
  const { readdir } = await fileSystem("checkpoints")
  const names = await readdir(folder).catch((e: { code?: string }) => (e.code === "ENOENT" ? [] : Promise.reject(e as Error)))
  return names.filter((name) => pattern.test(name)).sort((a, b) => Number(a.slice(5)) - Number(b.slice(5)))
}

/** Writes a checkpoint; it appears under its name when it is complete, and only then older ones go. */
export async function saveCheckpoint(folder: string, tensors: unknown, progress: Progress, keep: number): Promise<string> {
  const { mkdir, rename, rm } = await fileSystem("checkpoints")
  const path = `${folder}/${nameOf(progress.step)}`, partial = `${path}.partial`
  await rm(partial, { recursive: true, force: true })
  await mkdir(partial, { recursive: true })
  await saveSafetensors(`${partial}/state.safetensors`, stateDict(tensors))
  await saveFile(`${partial}/progress.json`, bytesOf(`${JSON.stringify(progress)}\n`))
  await rm(path, { recursive: true, force: true })
  await rename(partial, path)
  for (const old of (await existing(folder)).slice(0, -keep)) await rm(`${folder}/${old}`, { recursive: true, force: true })
  return path
}
async function* bytesOf(text: string): AsyncGenerator<Uint8Array> {
  yield new TextEncoder().encode(text)
}

/**
 * Reads the latest checkpoint of a folder into a tree like `like`, given what it says of itself; undefined where there is none. What was trained otherwise is refused.
 */
export async function openCheckpoint<T>(folder: string, settings: Progress["settings"], like: (progress: Progress) => T): Promise<{ readonly path: string; readonly state: T; readonly progress: Progress } | undefined> {
  const name = (await existing(folder)).at(-1)
  if (name === undefined) return undefined
  const { readFile } = await fileSystem("checkpoints"), path = `${folder}/${name}`
  const progress = JSON.parse(await readFile(`${path}/progress.json`, "utf8")) as Progress
  const different = Object.keys({ ...settings, ...progress.settings }).filter((k) => JSON.stringify(settings[k]) !== JSON.stringify(progress.settings[k]))
  if (different.length > 0) {
    const told = different.map((k) => `${k} is ${JSON.stringify(settings[k]) ?? "none"}, not ${JSON.stringify(progress.settings[k]) ?? "none"}`)
    fail("value", "checkpoints", `${path} is of another run: ${told.join("; ")}`, "train as before, or name another folder")
  }
  const tree = like(progress)
  await using file = await openSafetensors(`${path}/state.safetensors`)
  const state = loadState(tree, await file.tensors())
  for (const t of tensorsOf(tree)) t.dispose()
  return { path, state, progress }
}

/** Whether a folder has checkpoints. */
export const hasCheckpoints = async (folder: string): Promise<boolean> => (await existing(folder)).length > 0
