"""GPTQ of one layer in PyTorch, the standard algorithm with f32 throughout, for bench/compress.ts.

usage: gptq.py FOLDER ROWS COLUMNS TOKENS BITS GROUP THREADS RUNS
Reads w.f32 [rows, columns] and x.f32 [tokens, columns], writes values.f32, prints a JSON line per run.
"""
import json, os, sys, time
import torch

folder = sys.argv[1]
rows, columns, tokens, bits, group, threads, runs = map(int, sys.argv[2:9])
torch.set_num_threads(threads)
read = lambda name, shape: torch.from_file(os.path.join(folder, name), size=shape[0] * shape[1], dtype=torch.float32).reshape(shape).clone()


def grid(w, top):
    low, high = w.amin(1).clamp(max=0), w.amax(1).clamp(min=0)
    none = (low == 0) & (high == 0)
    low, high = low.masked_fill(none, -1), high.masked_fill(none, 1)
    scale = (high - low) / top
    return scale, torch.round(-low / scale)


def gptq(w, x, bits, group, block=128, damping=0.01):
    marks = [time.perf_counter()]
    mark = lambda: marks.append(time.perf_counter())
    w, columns, top = w.clone(), w.shape[1], 2 ** bits - 1
    h = (2 * x.t()) @ x
    mark()
    dead = h.diagonal() == 0
    h.diagonal()[dead] = 1
    w[:, dead] = 0
    h.diagonal().add_(damping * h.diagonal().mean())
    h = torch.linalg.cholesky(h)
    h = torch.cholesky_inverse(h)
    u = torch.linalg.cholesky(h, upper=True)
    mark()
    out, loss = torch.zeros_like(w), torch.zeros_like(w)
    for start in range(0, columns, block):
        end = min(start + block, columns)
        part, errors, own = w[:, start:end].clone(), torch.zeros(w.shape[0], end - start), u[start:end, start:end]
        for i in range(end - start):
            if (start + i) % group == 0:
                scale, zero = grid(w[:, start + i:start + i + group], top)
            column, d = part[:, i], own[i, i]
            q = scale * (torch.clamp(torch.round(column / scale) + zero, 0, top) - zero)
            out[:, start + i] = q
            loss[:, start + i] = (column - q) ** 2 / d ** 2
            error = (column - q) / d
            part[:, i:] -= error.unsqueeze(1) @ own[i, i:].unsqueeze(0)
            errors[:, i] = error
        w[:, end:] -= errors @ u[start:end, end:]
    mark()
    return out, loss.sum().item(), marks


w, x = read("w.f32", (rows, columns)), read("x.f32", (tokens, columns))
for _ in range(runs):
    out, loss, marks = gptq(w, x, bits, group)
    hessian, factor, rounding = (1000 * (b - a) for a, b in zip(marks, marks[1:]))
    print(json.dumps({"ms": 1000 * (marks[-1] - marks[0]), "hessian": hessian, "factor": factor, "rounding": rounding, "loss": loss}), flush=True)
out.numpy().tofile(os.path.join(folder, "values.f32"))
