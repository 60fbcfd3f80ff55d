import { memory, onLeaked } from "@thimble/core"

let collected = 0
onLeaked((_label, bytes) => void (collected += bytes))

/** Bytes of tensors that nobody disposed of: those that are garbage count, whether or not they were collected meanwhile. */
export const liveBytes = (): number => memory().bytes + collected
