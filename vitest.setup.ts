import fc from "fast-check"

// The same cases on every run, so that a change is judged by what it does; THIMBLE_SEED looks for others.
fc.configureGlobal({ seed: Number(process.env.THIMBLE_SEED ?? 20240229) })
