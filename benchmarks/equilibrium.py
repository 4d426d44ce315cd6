"""Equilibrium propagation without a graph against the same equations by autograd, in one process, one thread.

    python benchmarks/equilibrium.py [--rounds 15]

The comparator is what the equations say: each step differentiates the scalar Phi by the states, and the gradient is
that of Phi's difference.  Both relax the same net from zero, squared error inside of Phi, two phases.  Rounds
alternate; the ratio is that of the medians of processor time, which a busy machine disturbs less than a clock.  Where
the second layer is as large as the first, its products are what both spend their time on.
"""

import argparse
import time
from statistics import median

import torch
from torch import nn

from altprop import EP
from altprop.nets import ShiftedSigmoid, WideHardSigmoid, build

CASES = [  # spec, shape, sigma, batch, free, nudged, beta
    ("784-512-10", (784,), ShiftedSigmoid, 50, 30, 10, 0.1),
    ("784-512-512-10", (784,), ShiftedSigmoid, 50, 30, 10, 0.1),
    ("conv32k5-pool2-conv64k5-pool2-10", (1, 28, 28), WideHardSigmoid, 20, 30, 10, 0.4),
    ("conv32k5-pool2-10", (1, 28, 28), WideHardSigmoid, 20, 30, 10, 0.4),
    ("conv16k3s2-conv32k3s2-10", (1, 28, 28), WideHardSigmoid, 20, 30, 10, 0.4),
]


def stages(net):
    """[(product, with the pool behind it)], a layer each."""
    found = []
    for module in net:
        if isinstance(module, nn.Linear | nn.Conv2d):
            found.append([module])
        elif isinstance(module, nn.MaxPool2d):
            found[-1].append(module)
    return [nn.Sequential(*([nn.Flatten()] if isinstance(part[0], nn.Linear) else []), *part) for part in found]


def phi(parts, x, states):
    return sum((part(below) * s).sum() for part, below, s in zip(parts, [x, *states], states, strict=False))


def autograd_step(net, sigma, x, t, free, nudged, beta):
    """Functions that settle both phases, and that fill ``.grad``, by the paper's equations, as autograd finds them."""
    parts = stages(net)
    with torch.no_grad():
        zeros, h = [], x
        for part in parts:
            h = part(h)
            zeros.append(torch.zeros_like(h))

    def relax(states, steps, strength):
        for _ in range(steps):
            states = [s.detach().requires_grad_() for s in states]
            scalar = phi(parts, x, states)
            if strength:
                scalar = scalar - strength * (states[-1] - t).square().sum() / 2
            states = [sigma(u) for u in torch.autograd.grad(scalar, states)]
        return [s.detach() for s in states]

    def settle():
        star = relax(zeros, free, 0)
        return star, relax(star, nudged, beta)

    def step():
        net.zero_grad()
        star, end = settle()
        ((phi(parts, x, star) - phi(parts, x, end)) / (beta * len(x))).backward()

    return settle, step


def rule_step(net, x, t, free, nudged, beta):
    """The same two, of the rule."""
    rule = EP(net, example=x, loss="mse", free=free, nudged=nudged, beta=beta, estimate="two_phase")

    @torch.no_grad()
    def settle():
        circuit, zeros = rule.at_rest(x)
        star = circuit.settle(zeros, free)
        return star, circuit.settle(star, nudged, rule.readout(rule, star, x).nudge(t, beta))

    def step():
        net.zero_grad()
        rule.credit(x, t)

    return settle, step


def milliseconds(step):
    start = time.process_time()
    step()
    return 1e3 * (time.process_time() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for spec, shape, sigma, batch, *settings in CASES:
        net = build(spec, shape, 10, init="torch").requires_grad_()
        net = nn.Sequential(*(sigma() if isinstance(m, nn.ReLU) else m for m in net), sigma())
        x = torch.rand(batch, *shape, generator=torch.Generator().manual_seed(0))
        t = nn.functional.one_hot(torch.arange(batch) % 10, 10).float()
        (slow, slow_step), (fast, fast_step) = (
            autograd_step(net, sigma(), x, t, *settings),
            rule_step(net, x, t, *settings),
        )
        gradients = []
        for step in (slow_step, fast_step):
            step()
            gradients.append(torch.cat([p.grad.flatten().clone() for p in net.parameters()]))
        off = float((gradients[0] - gradients[1]).norm() / gradients[0].norm())
        times = [[milliseconds(each) for each in (slow, fast, slow_step, fast_step)] for _ in range(rounds)]
        told = [median(column) for column in zip(*times, strict=True)]
        print(f"{spec}, batch {batch}, T {settings[0]}/{settings[1]}; gradients differ by {off:.0e}")
        for what, one, other in (("relaxation", *told[:2]), ("with gradients", *told[2:])):
            print(f"    {what}: autograd {one:.1f} ms, rule {other:.1f} ms, {one / other:.1f}x")


if __name__ == "__main__":
    main()
