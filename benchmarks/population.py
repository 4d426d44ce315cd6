"""An evolution strategy's population in one pass, against a loop over its members and plain batched inference.

    python benchmarks/population.py [--members 4096] [--batch 64] [--rounds 5]

Noise is of rank 1, on 784-256-10, one thread.  ``credit`` is all of a step but the optimizer's: drawing, the pass, the
update.  The loops draw noise of rank 1 or full noise, build a member's weights and take its loss; inference is the
net's forward of as many samples as members times the batch, 1,024 at a time, which is its fastest.  Best of the rounds.
"""

import argparse
import time
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from altprop import ES

LOOPED = 64  # members, of which the time of all is told


def best(run, rounds):
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


@torch.no_grad()
def loop(net, x, y, rank, sigma=0.05):
    for _ in range(LOOPED):
        weights = {}
        for name, p in net.named_parameters():
            low = rank and p.dim() > 1
            E = torch.randn(len(p), 1) @ torch.randn(1, p.shape[1]) if low else torch.randn_like(p)
            weights[name] = p + sigma * E
        F.cross_entropy(torch.func.functional_call(net, weights, (x,)), y)


def main(members, batch, rounds):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    x, y, samples = torch.rand(batch, 784), torch.randint(10, (batch,)), torch.rand(1024, 784)
    rule = ES(net, example=x[:1], population=members)
    step = best(lambda: rule.credit(x, y), rounds)
    low, full = (best(partial(loop, net, x, y, rank), rounds) * members / LOOPED for rank in (1, 0))
    with torch.no_grad():
        inference = best(lambda: net(samples), rounds) * members * batch / len(samples)
    told = f"credit {step:.3f} s, loop {low:.3f} s, with full noise {full:.3f} s, inference {inference:.3f} s"
    print(f"{members} members on a batch of {batch}: {told}")
    print(f"{low / step:.1f} and {full / step:.1f} times as fast as the loops; {inference / step:.0%} of inference")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("members", 4096), ("batch", 64), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    main(**vars(parser.parse_args()))
