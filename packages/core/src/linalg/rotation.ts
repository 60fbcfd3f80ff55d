import { hypotenuse } from "./reflector.ts"

/** A plane rotation and the length it leaves. */
export interface Rotation {
  c: number
  s: number
  r: number
}

/** The rotation that maps (x, y) to (r, 0): c = x/r, s = y/r (Golub & Van Loan, algorithm 5.1.3). */
export function rotation(x: number, y: number, out: Rotation): void {
  if (y === 0) {
    out.c = 1
    out.s = 0
    out.r = x
    return
  }
  const r = hypotenuse(x, y)
  out.c = x / r
  out.s = y / r
  out.r = r
}
