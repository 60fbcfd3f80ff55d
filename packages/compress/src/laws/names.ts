/** The laws of quantizers that this package states and checks, by name. Their statements are with their checks. */
export type LawName =
  | "bound" | "outputBound"
  | "nearest" | "idempotent" | "zero" | "constant" | "sign" | "scaling" | "translation" | "monotone" | "saturates"
  | "groups" | "permutation" | "rows" | "views"
  | "finite" | "subnormal" | "overflow" | "ragged" | "oneSided"
  | "storage" | "anyBytes" | "noWorse"
  | "deterministic" | "devices" | "products"
  | "onGrid" | "extremes" | "rate" | "saves" | "unbiased" | "chunks"
  | "casts" | "fake" | "straightThrough" | "converts" | "frozen" | "learnedSteps" | "integerSums"
