"""SoftHebb without labels against the two primitives that it cannot do without, in one process, one thread.

    python benchmarks/hebbian.py [--rounds 15]

The net is that of CIFAR-10 with 96, 384 and 1536 filters, the batch 10.  The primitives are torch's forward convolution
and its gradient at the weight, on inputs padded beforehand; a step is everything: norm, padding, competition, update,
optimizer and, in the whole net, activation and pooling.  A ratio is the median over rounds in which every part has its
turn.  The authors' single-file demo takes about 2.0 of these primitives a batch, and its readout step, which runs back
through the frozen net, 61 of a step on features computed once.
"""

import argparse
import time
from statistics import median

import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.nets import BitDropout, build

NET = "norm-conv96k5r2-pool4s2p1-norm-conv384k3r1-pool4s2p1-norm-conv1536k3r1-avgpool2-10"
BATCH, READOUT_BATCH = 10, 64


def primitives(module, x):
    """The forward convolution of a padded input, and the gradient at the weight."""
    border = module.padding[0]
    padded = F.pad(x, (border,) * 4, mode="reflect").contiguous(memory_format=torch.channels_last)
    signal = torch.randn_like(F.conv2d(padded, module.weight))
    geometry = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1, (False, True, False))

    def both():
        F.conv2d(padded, module.weight)
        torch.ops.aten.convolution_backward(signal, padded, module.weight, [len(module.weight)], *geometry)

    return both


def step(layer, x, temperature, lr):
    """A step of one layer as it trains by itself."""
    alone = nn.Sequential(*layer.inlet, layer.synapse, nn.Flatten())
    rule = altprop.SoftHebb(alone, example=x[:1], inverse_temperature=temperature, readout=False).train()
    optimizer = altprop.NormSGD([layer.synapse.weight], lr=lr)

    def one():
        optimizer.zero_grad()
        rule.credit(x)
        optimizer.step()

    return one


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    net = build(NET, (3, 32, 32), 10, act="triangle0.7,triangle1.4,triangle", init="radius25")
    x, y = torch.rand(BATCH, 3, 32, 32), torch.arange(READOUT_BATCH) % 10
    rule = altprop.SoftHebb(net, example=x, inverse_temperature=[1.0, 0.65, 0.25])
    hidden, rates = rule.layers[:3], (0.08, 0.005, 0.01)
    parts, h = {}, x
    with torch.no_grad():
        for number, (layer, rate, t) in enumerate(zip(hidden, rates, rule.t, strict=True), start=1):
            parts[f"primitives {number}"] = primitives(layer.synapse, layer.inlet(h))
            parts[f"step {number}"] = step(layer, h, t, rate)
            h = layer(h)
    optimizers = [altprop.NormSGD([layer.synapse.weight], lr=rate) for layer, rate in zip(hidden, rates, strict=True)]

    def whole():
        rule.zero_grad()
        rule.credit(x)
        for optimizer in optimizers:
            optimizer.step()

    parts["whole"] = whole
    last = rule.layers[-1]
    images = torch.rand(READOUT_BATCH, 3, 32, 32)
    frozen = nn.Sequential(*net[:-1]).eval()
    with torch.no_grad():
        features = frozen(images).half()
    head = altprop.Backprop(nn.Sequential(BitDropout(0.5), last.synapse), example=features[:1].float())
    adam = torch.optim.Adam(last.synapse.parameters(), lr=1e-3)

    def read_out(of):
        adam.zero_grad()
        head.credit(of(), y)
        adam.step()

    parts["readout, cached"] = lambda: read_out(features.float)
    parts["readout, recomputed"] = lambda: read_out(torch.no_grad()(lambda: frozen(images)))
    times = []
    for _ in range(rounds):
        times.append({})
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            times[-1][name] = time.perf_counter() - start
    ratio = lambda of, to: median(sum(row[n] for n in of) / sum(row[n] for n in to) for row in times)  # noqa: E731
    for name in parts:
        print(f"{name:20} {1e3 * median(row[name] for row in times):8.2f} ms")
    for number in (1, 2, 3):
        print(f"layer {number}: {ratio([f'step {number}'], [f'primitives {number}']):.2f} x its primitives")
    print(f"whole net: {ratio(['whole'], [f'primitives {n}' for n in (1, 2, 3)]):.2f} x the primitives")
    print(f"readout, recomputed: {ratio(['readout, recomputed'], ['readout, cached']):.0f} x a step on cached features")


if __name__ == "__main__":
    main()
