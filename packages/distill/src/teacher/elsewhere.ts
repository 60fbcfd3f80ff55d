import { compile, currentDevice, fail, moveTo, tensorsOf, toDevice, type Compiled, type Device, type Tensor } from "@thimble/core"
import type { Model } from "@thimble/models"
import type { Seen } from "../loss/loss.ts"
import { asNetwork, type Ask, type Network } from "../network.ts"
import type { Answers } from "./teacher.ts"

/** A teacher whose parameters lie on another device than the student's: it computes there, and its answers are moved. It shows all but its head. */
export function elsewhere(teacher: Model | Network, device: Device): Answers & Disposable {
  const network = asNetwork(teacher)
  const strange = tensorsOf(network.parameters).find((t) => t.device !== undefined && t.device !== device)
  if (strange !== undefined) fail("device", "elsewhere", `the teacher has tensors on ${strange.device!.name}, not on ${device.name}`, "move them: await toDevice(model, device)")
  const programs = new Map<string, Compiled<readonly unknown[], Seen>>()
  return {
    offers: network.offers.filter((q) => q !== "head"), dimensions: network.dimensions, ...(network.tokenizer && { tokenizer: network.tokenizer }),
    async answer(batch, ask) {
      const key = JSON.stringify([ask.wanted, ask.top])
      let see = programs.get(key)
      if (see === undefined) programs.set(key, (see = compile((parameters: unknown, inputs: Tensor, padding: Tensor | undefined) => only(network.see(parameters, inputs, { ...ask, ...(padding && { padding }) }), ask)) as unknown as Compiled<readonly unknown[], Seen>))
      const here = currentDevice(), [inputs, padding] = [await moveTo(batch.inputs, device), batch.padding && await moveTo(batch.padding, device)]
      const seen = await see(network.parameters, inputs, padding)
      const moved = await toDevice(seen, here)
      for (const t of [inputs, ...(padding ? [padding] : [])]) if (t !== batch.inputs && t !== batch.padding) t.dispose()
      const kept = new Set(tensorsOf(moved))
      for (const t of tensorsOf(seen)) if (!kept.has(t)) t.dispose()
      return moved
    },
    [Symbol.dispose]() {
      for (const p of programs.values()) p.dispose()
    },
  }
}

/** Of what was shown, what was wanted. */
export const only = (seen: Seen, { wanted }: Ask): Seen => Object.fromEntries(Object.entries(seen).filter(([name]) => (wanted as readonly string[]).includes(name)))
