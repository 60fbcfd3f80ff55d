#!/bin/bash
# Makes one file of bench/gpu.ts and all it needs but the npm package `webgpu`: node_modules/webgpu must lie beside it.
# Usage: bench/gpu-bundle.sh OUTFILE
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
alias=("--alias:@thimble/core/assembler=./packages/core/src/assembler/index.ts" "--alias:@thimble/compress/laws=./packages/compress/src/laws/index.ts"); for p in core kernels formats compress models distill conformance; do alias+=("--alias:@thimble/$p=./packages/$p/src/index.ts"); done
ESBUILD=${ESBUILD:-$(ls -d node_modules/.pnpm/esbuild@*/node_modules/esbuild/bin/esbuild | tail -1)}
NODE_PATH=packages/conformance/node_modules:node_modules "$ESBUILD" bench/gpu.ts --bundle --platform=node --format=esm --target=node22 --external:webgpu --external:gpu.js \
  --banner:js='import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' "${alias[@]}" --outfile="$1" --log-level=warning
