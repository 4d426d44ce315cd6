"""What threads are worth by the size of a net: one step of backpropagation's and of DFA's rule on 1 thread and on more.

    python benchmarks/threads.py [--rounds 9] [--threads 2]

Round-robin in one process by a clock; the best of all rounds each, since on a busy machine threads that wait for each
other are ten times slower, and nobody wants to know how busy it was.  Above 1 the threads pay.  "work" are the
multiply-adds of a batch in the weights, forward alone, of which ``altprop.run.machine`` gives every thread at least
``WORTH``.
"""

import argparse
import time

import torch

from altprop import RULES
from altprop.bench.bench import rule_step
from altprop.nets import build
from altprop.run.machine import work

CASES = [  # spec, shape, batch
    ("64-32-10", (64,), 64),
    ("784-128-10", (784,), 64),
    ("784-256-10", (784,), 64),
    ("784-512-10", (784,), 64),
    ("784-1024-10", (784,), 64),
    ("784-1024-1024-1024-10", (784,), 64),
    ("conv16k3-pool2-10", (1, 8, 8), 64),
    ("conv8k3-pool2-10", (1, 28, 28), 64),
    ("conv32k5-pool2-10", (3, 32, 32), 64),
    ("conv32k3-pool2-conv64k3-pool2-10", (3, 32, 32), 64),
]
SECONDS = 0.03  # at least so long for each in a round


def seconds(step, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def seconds_with(threads, step, repeats):
    torch.set_num_threads(threads)
    step()
    return seconds(step, repeats)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    for spec, shape, batch in CASES:
        x, y = torch.rand(batch, *shape), torch.randint(0, 10, (batch,))
        for name in ("bp", "dfa"):
            rule = RULES[name](build(spec, shape, 10), example=x[:1])
            step = rule_step(rule, x, y)
            repeats = max(1, round(SECONDS / seconds_with(1, step, 3)))
            times = [[seconds_with(n, step, repeats) for n in (1, given.threads)] for _ in range(given.rounds)]
            one, more = (min(each) for each in zip(*times, strict=True))
            gain = f"{one / more:.2f} x as fast on {given.threads} threads"
            print(f"{spec:36} {name:4} work {work(rule, batch) / 1e6:8.2f} M   {1e3 * one:7.3f} ms on 1, {gain}")


if __name__ == "__main__":
    main()
