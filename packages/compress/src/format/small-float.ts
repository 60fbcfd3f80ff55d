export { bitsOf, exponentOf, halfSpacing, inUnits, powerOfTwo, smallBits, smallFloats, smallValues, spelled, type SmallFloat, type SmallFloatRow, type Spelled } from "@thimble/formats"
