// The assembler is core's, because encoders of formats are emitted, too.
export * from "@thimble/core/assembler"
