"""An evolution strategy's population in one pass, against a loop over its members and plain batched inference.

    python benchmarks/population.py [--members 4096] [--rounds 7]

Noise is of rank 1, on 784-256-10, one thread.  ``credit`` is all of a step but the optimizer's: drawing, the pass, the
update.  The loop draws noise of rank 1, builds a member's weights and takes its loss; inference is the net's forward of
as many samples as members times the batch, 1,024 at a time, which is its fastest.  All are timed in turn, round by
round, and the best round of each counts.
"""

import argparse
import time
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from altprop import ES

LOOPED = 64  # members, of which the time of all is told


def best(runs, rounds):
    """Seconds of each, in turn, so that what else the machine does meets all alike."""
    times = [[] for _ in runs]
    for _ in range(rounds):
        for run, seconds in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    return [min(seconds[1:]) for seconds in times]


@torch.no_grad()
def loop(net, x, y, sigma=0.05):
    for _ in range(LOOPED):
        weights = {}
        for name, p in net.named_parameters():
            E = torch.randn(len(p), 1) @ torch.randn(1, p.shape[1]) if p.dim() > 1 else torch.randn_like(p)
            weights[name] = p + sigma * E
        F.cross_entropy(torch.func.functional_call(net, weights, (x,)), y)


@torch.no_grad()
def infer(net, samples):
    net(samples)


def main(members, rounds):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    samples = torch.rand(1024, 784)
    for batch in (1, 16, 64):
        x, y = torch.rand(batch, 784), torch.randint(10, (batch,))
        rule = ES(net, example=x[:1], population=members)
        runs = partial(rule.credit, x, y), partial(loop, net, x, y), partial(infer, net, samples)
        step, looped, inferred = best(runs, rounds)
        looped, inferred = looped * members / LOOPED, inferred * members * batch / len(samples)
        told = f"credit {step:.3f} s, {looped / step:.1f} times as fast as the loop"
        print(f"{members} members on a batch of {batch}: {told}, {inferred / step:.0%} of inference")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("members", 4096), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    main(**vars(parser.parse_args()))
