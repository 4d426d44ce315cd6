"""A training step in bfloat16 against one in float32: backpropagation, DRTP and PEPITA, round-robin in one process.

    python benchmarks/precision.py [--rounds 15]

One thread, batch 64.  The comparator is what users run, autograd in float32 with ``torch.optim.SGD``; the ratio to it
is the median over rounds, each of which gives every step its turn.  Where torch has no bfloat16 products with float32
sums on this processor, it says so and times nothing, since what is emulated can only be slower.
"""

import argparse
from functools import partial

import torch

from altprop import RULES
from altprop.allocator import keep_freed_memory
from altprop.bench.bench import autograd_step, optimizer_of, rule_step
from altprop.bench.timing import one_thread, ratio, rounds, spread
from altprop.nets import build
from altprop.run.precision import PRECISIONS, is_native
from altprop.tracing.compiled import Compiled
from altprop.tracing.graph import Step

SPEC, SHAPE, BATCH = "784-1024-1024-1024-10", (784,), 64
NAMES = ("bp", "drtp", "pepita")


def step_in(precision, step, *batch):
    with PRECISIONS[precision]():
        return step(*batch)


def compiled_step(precision, rule, x, y):
    """As a run with ``compile = true`` takes it: the precision is part of the graph."""
    optimizer = optimizer_of(rule.parameters())
    take = partial(step_in, precision, rule.credit)
    graph = Compiled(Step(rule, list(rule.parameters()), take, (x, y)))

    def step():
        optimizer.zero_grad()
        graph((x, y))
        optimizer.step()

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    count = parser.parse_args().rounds
    if not is_native():
        features = torch.backends.cpu.get_cpu_capability()
        print(f"no bfloat16 products with float32 sums on this processor ({features}): nothing to time")
        return
    x, y = torch.rand(BATCH, *SHAPE), torch.randint(0, 10, (BATCH,))
    steps = {("autograd", "float32"): autograd_step(build(SPEC, SHAPE, 10), x, y)}
    for name in NAMES:
        for precision in PRECISIONS:
            step = rule_step(RULES[name](build(SPEC, SHAPE, 10), example=x[:1]), x, y)
            steps[name, precision] = partial(step_in, precision, step)
            own = RULES[name](build(SPEC, SHAPE, 10), example=x[:1])
            steps[name, f"{precision}, compiled"] = compiled_step(precision, own, x, y)
    keep_freed_memory()  # as the command does
    with one_thread():
        times = rounds(steps, count)
    print(f"{SPEC}, batch {BATCH}")
    for case, own in times.items():
        of_autograd = ratio(own, times["autograd", "float32"])
        print(
            f"    {case[0]:10} {case[1]:17} {spread(own, 1e3).median:8.3f} ms   {of_autograd.median:.2f}"
            f" [{of_autograd.low:.2f}, {of_autograd.high:.2f}] x autograd in float32"
        )


if __name__ == "__main__":
    main()
