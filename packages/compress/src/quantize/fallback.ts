/** Something that was done because what was asked for could not be. */
export type Fallback =
  | { readonly kind: "dead columns"; readonly columns: readonly number[] }
  | { readonly kind: "damping"; readonly from: number; readonly to: number; readonly pivot: number }
  /** A correction of a bias was found, as large as this, and the module has none. */
  | { readonly kind: "no bias"; readonly largest: number }
  /** Factors were asked for, and nothing can take them: no link, or one whose other matrices do not ask for the same. */
  | { readonly kind: "no factors"; readonly asked: string }
