"""Peak memory of streaming on deep nets, above weights, momentum and input, as the operating system sees it.

    python benchmarks/memory.py [RULE ...]                   else every rule that claims no locking

Each row is a process of its own: nets of 8, 32 and 128 layers of 1024, batch 512, three steps, growth of the resident
set's high-water mark over what it was when net, momentum and input were there, what stands beside the layers included.
"autograd" is ``loss.backward()``.
"""

import subprocess
import sys
import warnings

import torch
from torch import nn

from altprop import RULES
from altprop.core import RuleWarning

WIDTH, BATCH, STEPS = 1024, 512, 3


def high_water_megabytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def net_of(depth):
    hidden = [module for _ in range(depth - 1) for module in (nn.Linear(WIDTH, WIDTH), nn.Tanh())]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, 10))


def optimizer_of(parameters):
    """SGD whose momentum is there from the start, so that it belongs to the baseline."""
    parameters = list(parameters)
    optimizer = torch.optim.SGD(parameters, lr=1e-4, momentum=0.9)
    for parameter in parameters:
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter).add_(0)
    return optimizer


def streamed(name, net, x, y):
    """Each layer, and what stands beside it, is stepped as soon as it can be, and its gradient dropped."""
    with warnings.catch_warnings(action="ignore", category=RuleWarning):  # of what the net lacks to learn well
        rule = RULES[name](net, example=x[:1])
    optimizers = {layer: optimizer_of(layer.parameters()) for layer in rule.layers}

    def ready(layer):
        optimizers[layer].step()
        optimizers[layer].zero_grad()

    return lambda: rule.credit(x, y, ready=ready)


def autograd(net, x, y):
    optimizer = optimizer_of(net.parameters())

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    return step


STREAMING = [name for name, rule in RULES.items() if rule.claims.locking == "none"]


def measure(name, depth):
    torch.set_num_threads(1)
    x, y = torch.rand(BATCH, WIDTH), torch.randint(0, 10, (BATCH,))
    net = net_of(depth)
    step = autograd(net, x, y) if name == "autograd" else streamed(name, net, x, y)
    nn.functional.linear(x[:64], torch.rand(64, WIDTH))  # the libraries' own buffers belong to the baseline
    before = high_water_megabytes()
    for _ in range(STEPS):
        step()
    print(f"{high_water_megabytes() - before:.1f}")


def main():
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], int(sys.argv[3]))
        return
    for name in sys.argv[1:] or [*STREAMING, "autograd"]:
        for depth in (8, 32, 128):
            command = [sys.executable, __file__, "--measure", name, str(depth)]
            grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            print(f"{name:22} {depth:4} layers   {grown:>7} MB above weights, momentum and input", flush=True)


if __name__ == "__main__":
    main()
