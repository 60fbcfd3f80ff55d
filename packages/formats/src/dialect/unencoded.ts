import { fail } from "@thimble/core"

/** The encoder of formats that are read only: their codes come from a checkpoint, or from a solver. */
export const unencoded = (name: string) => (): never => fail("value", "encode", `${name} is what codes of a checkpoint are stored in`, "int(), nf4() and fp() of @thimble/compress encode")
