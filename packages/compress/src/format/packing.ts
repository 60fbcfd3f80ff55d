export { packing, type Bits, type Packing } from "@thimble/formats"
