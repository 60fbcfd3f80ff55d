// PyTorch on the same machine, where python3 has it: what the bars are set by. Without tensor cores its f32 stays f32.
import { spawnSync } from "node:child_process"
import type { Part } from "./part.ts"

const program = `
import json, torch
torch.backends.cuda.matmul.allow_tf32 = False
def ms(f, n):
    f(); torch.cuda.synchronize(); ts = []
    for _ in range(3):
        a, b = torch.cuda.Event(True), torch.cuda.Event(True); a.record()
        for _ in range(n): f()
        b.record(); torch.cuda.synchronize(); ts.append(a.elapsed_time(b) / n)
    return sorted(ts)[1]
out = {'name': torch.cuda.get_device_name(0) + ', PyTorch ' + torch.__version__}
x = torch.randn(1 << 28, device='cuda'); y = torch.empty_like(x)
out['copy GB/s'] = 2 * x.numel() * 4 / ms(lambda: y.copy_(x), 10) / 1e6
del x, y
for n in (1024, 2048, 4096, 8192):
    for name, dt in (('f32', torch.float32), ('f16, tensor cores', torch.float16)):
        a = torch.randn(n, n, device='cuda').to(dt); b = torch.randn(n, n, device='cuda').to(dt)
        out[f'product {name} {n} TFLOP/s'] = 2 * n**3 / ms(lambda: torch.mm(a, b), max(2, int(2e11 / n**3))) / 1e9
w = torch.randn(11008, 4096, device='cuda', dtype=torch.float16); v = torch.randn(4096, device='cuda', dtype=torch.float16)
out['row times f16 [11008, 4096] GB/s'] = w.numel() * 2 / ms(lambda: torch.mv(w, v), 200) / 1e6
for dt in (torch.float32, torch.float16):
    for tq, tk in ((1, 2048), (2048, 2048)):
        q = torch.randn(1, 32, tq, 128, device='cuda', dtype=dt); k = torch.randn(1, 32, tk, 128, device='cuda', dtype=dt)
        out[f'attention {dt} {tq} queries {tk} keys ms'] = ms(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, k, is_causal=tq > 1), 20)
x = torch.randn(4096, 4096, device='cuda'); out['softmax 4096 x 4096 ms'] = ms(lambda: torch.softmax(x, -1), 100)
print(json.dumps(out))
`

export const torch: Part = {
  name: "PyTorch",
  seconds: 60,
  run({ row, tiny }) {
    const { status, stdout, stderr } = spawnSync("python3", ["-c", program], { timeout: tiny ? 2000 : 60_000, encoding: "utf8" })
    if (status !== 0) row("PyTorch is not here", { why: (stderr ?? "").trim().split("\n").at(-1) ?? "no python3" })
    else row("PyTorch", JSON.parse(stdout.trim().split("\n").at(-1)!) as Record<string, number>)
    return Promise.resolve()
  },
}
