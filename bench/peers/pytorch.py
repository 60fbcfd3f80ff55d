"""PyTorch as a peer: reads one work from standard input, then runs it each time it is told to.

A line of JSON describes the work and its tensors, whose bytes follow. Then "run" and "result" are
answered by a line; after the line for "result", its number of bytes, come the bytes.
"""
import json
import sys

import numpy
import torch
import torch.nn.functional as F

stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
work = json.loads(stdin.readline())
torch.set_num_threads(work["threads"])
dims, tensors = work["dims"], {}
for entry in work["tensors"]:
    data = numpy.frombuffer(stdin.read(4 * int(numpy.prod(entry["shape"]))), dtype=numpy.float32)
    tensors[entry["name"]] = torch.from_numpy(data.reshape(entry["shape"]).copy())


def train():
    x, classes = tensors["x"], tensors["targets"].argmax(1)
    params = [tensors[f"params.{i}"].requires_grad_() for i in range(2 * len(dims["sizes"]) - 2)]
    rate = dims["rate"]
    optimizer = torch.optim.SGD(params, lr=rate) if dims["optimizer"] == "sgd" else torch.optim.Adam(params, lr=rate)

    def step():
        with torch.enable_grad():
            state = x
            for i in range(0, len(params), 2):
                state = torch.addmm(params[i + 1], state, params[i])
                if i + 2 < len(params):
                    state = F.relu(state)
            optimizer.zero_grad()
            F.cross_entropy(state, classes).backward()
        optimizer.step()
        return params

    return step


def transformer():
    heads, width, tokens, epsilon = dims["heads"], dims["width"], dims["tokens"], dims["epsilon"]
    future = torch.full((tokens, tokens), float("-inf")).triu(1)

    def block(state, layer):
        qkv = F.layer_norm(state, (width,), layer["norm1Scale"], layer["norm1Shift"], epsilon) @ layer["qkv"]
        queries, keys, values = qkv.view(tokens, 3, heads, width // heads).permute(1, 2, 0, 3)
        scores = torch.baddbmm(future, queries, keys.transpose(1, 2), alpha=(width // heads) ** -0.5)
        state = state + (scores.softmax(-1) @ values).transpose(0, 1).reshape(tokens, width) @ layer["out"]
        up = torch.addmm(layer["upBias"], F.layer_norm(state, (width,), layer["norm2Scale"], layer["norm2Shift"], epsilon), layer["up"])
        return state + torch.addmm(layer["downBias"], F.gelu(up, approximate="tanh"), layer["down"])

    layers = [{} for _ in range(dims["layers"])]
    for name, tensor in tensors.items():
        if name != "x":
            _, index, part = name.split(".")
            layers[int(index)][part] = tensor

    def forward():
        state = tensors["x"]
        for layer in layers:
            state = block(state, layer)
        return state

    return forward


def rms_norm():
    x, scale = tensors["x"], tensors["scale"]
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + dims["epsilon"]) * scale


t = tensors
steps = {
    "matmul": lambda: t["a"] @ t["b"],
    "matvec": lambda: t["w"] @ t["x"],
    "gelu": lambda: F.gelu(t["x"] * dims["scale"] + dims["shift"], approximate="tanh"),
    "exp": lambda: t["x"].exp(),
    "softmax": lambda: t["x"].softmax(-1),
    "layerNorm": lambda: F.layer_norm(t["x"], (dims["columns"],), t["scale"], t["shift"], dims["epsilon"]),
    "rmsNorm": rms_norm,
    "sum": lambda: t["x"].sum(dims["axis"]),
    "transpose": lambda: t["x"].t().contiguous(),
}
makers = {"train": train, "transformer": transformer}
step = makers[work["op"]]() if work["op"] in makers else steps[work["op"]]

output = None
with torch.no_grad():
    for line in stdin:
        if line == b"run\n":
            output = step()
            stdout.write(b"done\n")
        else:
            parts = output if isinstance(output, list) else [output]
            data = torch.cat([part.detach().flatten() for part in parts]).numpy().tobytes()
            stdout.write(b"%d\n" % len(data) + data)
        stdout.flush()
