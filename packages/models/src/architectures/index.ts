import type { Architecture } from "../architecture.ts"
import { bert } from "./bert.ts"
import { distilbert } from "./distilbert.ts"
import { gemma2 } from "./gemma2.ts"
import { gpt2 } from "./gpt2.ts"
import { gptNeox } from "./gpt-neox.ts"
import { llama } from "./llama.ts"
import { mistral } from "./mistral.ts"
import { phi } from "./phi.ts"
import { phi3 } from "./phi3.ts"
import { qwen2 } from "./qwen2.ts"
import { qwen3 } from "./qwen3.ts"

/** The architectures there are, one file each. */
export const architectures: readonly Architecture[] = [llama, mistral, qwen2, qwen3, phi, phi3, gemma2, gpt2, gptNeox, bert, distilbert]
