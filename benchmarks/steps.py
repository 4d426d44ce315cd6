"""One training step of each rule against torch's own backpropagation, round-robin in one process, one thread.

    python benchmarks/steps.py [--rounds 15]

The comparator is what users run: autograd, ``loss.backward()``, ``torch.optim.SGD`` with momentum.  The ratio is the
median over rounds, each of which gives every rule its turn.  "highest" is torch's default matmul setting, in which this
library's float32 products already go to oneDNN; under "medium" torch's own do as well, so that only the algorithms
differ.
"""

import argparse
import time
from statistics import median

import torch
from torch import nn

from altprop import RULES
from altprop.nets import build

CASES = [  # spec, shape, batch, rules
    ("784-1024-10", (784,), 64, ("bp", "fa", "dfa", "drtp", "pepita")),
    ("784-1024-1024-1024-10", (784,), 64, ("bp", "fa", "dfa", "drtp", "pepita")),
    ("3072-1024-10", (3072,), 64, ("bp", "drtp", "pepita")),
    ("conv32k5-pool2-10", (3, 32, 32), 100, ("bp", "drtp", "pepita")),
]
SECONDS = 0.05  # at least so long for each rule in a round


def autograd_step(net, x, y):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    loss_function = nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad()
        loss_function(net(x), y).backward()
        optimizer.step()

    return step


def rule_step(rule, x, y):
    optimizer = torch.optim.SGD(rule.parameters(), lr=0.01, momentum=0.9)

    def step():
        optimizer.zero_grad()
        rule.credit(x, y)
        optimizer.step()

    return step


def seconds(step, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for setting in ("highest", "medium"):
        torch.set_float32_matmul_precision(setting)
        for spec, shape, batch, names in CASES:
            x, y = torch.rand(batch, *shape), torch.randint(0, 10, (batch,))
            steps = {"autograd": autograd_step(build(spec, shape, 10), x, y)}
            for name in names:
                steps[name] = rule_step(RULES[name](build(spec, shape, 10), example=x[:1]), x, y)
            repeats = max(1, round(SECONDS / max(seconds(step, 3) for step in steps.values())))
            times = [{name: seconds(step, repeats) for name, step in steps.items()} for _ in range(rounds)]
            print(f"{spec}, batch {batch}, matmul precision {setting}")
            for name in steps:
                ratio = median(row[name] / row["autograd"] for row in times)
                print(f"    {name:10} {1e3 * median(row[name] for row in times):8.3f} ms   {ratio:.2f} x autograd")


if __name__ == "__main__":
    main()
