#!/bin/bash
# Makes bench/gpu.ts and all it needs but the npm package `webgpu` into files of one folder: node_modules/webgpu must lie beside them.
# Usage: bench/gpu-bundle.sh OUTFILE   (once `pnpm bench:install` has run; the files beside it are only for PARTS=peers)
set -euo pipefail
OUT=$(realpath -m "$1"); FOLDER=$(dirname "$OUT")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -d bench/node_modules ] || { echo "gpu-bundle.sh: first npx -y pnpm@12.21.0 bench:install" >&2; exit 1; }
alias=("--alias:@thimble/core/assembler=./packages/core/src/assembler/index.ts" "--alias:@thimble/compress/laws=./packages/compress/src/laws/index.ts"); for p in core kernels formats compress models distill conformance; do alias+=("--alias:@thimble/$p=./packages/$p/src/index.ts"); done
ESBUILD=${ESBUILD:-$(ls -d node_modules/.pnpm/esbuild@*/node_modules/esbuild/bin/esbuild | tail -1)}
NODE_PATH=packages/conformance/node_modules:node_modules "$ESBUILD" bench/gpu.ts --bundle --platform=node --format=esm --target=node24 --external:webgpu --external:gpu.js \
  --banner:js='import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' "${alias[@]}" --outfile="$OUT" --log-level=warning
cp bench/onnx/onnx.proto "$FOLDER"
wasm=ort-wasm-simd-threaded.asyncify.wasm
node -e 'const [from, to] = process.argv.slice(1), { readFileSync: read, writeFileSync: write } = require("fs"), zlib = require("zlib")
write(to, zlib.brotliCompressSync(read(from), { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 9, [zlib.constants.BROTLI_PARAM_LGWIN]: 24 } }))' \
  "bench/node_modules/onnxruntime-web/dist/$wasm" "$FOLDER/$wasm.br"
ls -l "$OUT" "$FOLDER/onnx.proto" "$FOLDER/$wasm.br"
