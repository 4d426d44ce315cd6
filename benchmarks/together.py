"""Several seeds of one recipe side by side in one process against the same seeds one after the other, one thread.

    python benchmarks/together.py [--seeds 5] [--batches 60] [--rounds 7] [--rules bp,drtp,pepita]

Each round runs an epoch of every seed both ways, through the library's own loop (gathering of batches, credit,
optimizer, checks; no evaluation), so that the ratio is what a long run gains.  What putting together costs once, to
trace and to batch, is told beside.  Random data: nothing is learned here.
"""

import argparse
import threading
import time
from statistics import median

import torch

from altprop.allocator import keep_freed_memory
from altprop.data import Dataset
from altprop.run.build import prepare
from altprop.run.course import Position
from altprop.run.isolated import isolated
from altprop.run.train import _epoch
from altprop.run.values import make_recipe
from altprop.together.seats import Group, Seat

NETS = ("64-256-10", "784-64-10", "784-256-10")
BATCH = 64


def random_data(inputs, samples):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(samples, inputs, generator=generator), torch.arange(samples) % 10
    return Dataset("random", x, y, x[:100], y[:100], classes=tuple("0123456789"))


def epoch(learner):
    """The batches of one epoch, which wait for their losses."""
    learner.enter(0)
    return _epoch(learner, Position(epoch=learner.before), threading.Event(), None)


def one_by_one(learners):
    start = time.perf_counter()
    for learner in learners:
        course = epoch(learner)
        batch = next(course, None)
        while batch is not None:
            try:
                batch = course.send(learner.step(batch.x, batch.y))
            except StopIteration:
                batch = None
    return time.perf_counter() - start


def side_by_side(learners, group):
    """(seconds, group): the group is made where there is none."""
    seats = [Seat(epoch(learner)) for learner in learners]
    for seat in seats:
        seat.go_on()
    if group is None:
        group = Group(seats)
    group.seats = seats
    start, never = time.perf_counter(), threading.Event()
    while seats[0].batch is not None:
        group.step(never, never)
    return time.perf_counter() - start, group


@isolated()
def compare(rule, net, seeds, batches, rounds):
    data = random_data(int(net.split("-")[0]), batches * BATCH)
    recipes = [
        make_recipe(rule=rule, data="custom", net=net, seed=seed, threads=1, momentum=0.9) for seed in range(seeds)
    ]
    alone, beside = ([prepare(recipe, data) for recipe in recipes] for _ in range(2))
    first, group = side_by_side(beside, None)
    one_by_one(alone)
    times = [(one_by_one(alone), side_by_side(beside, group)[0]) for _ in range(rounds)]
    serial, joined = (median(each) for each in zip(*times, strict=True))
    ratio = median(a / b for a, b in times)
    per = 1e3 / batches
    print(
        f"{net:12} {rule:8} one by one {serial * per:6.2f} ms a batch of all, together {joined * per:6.2f} ms", end=""
    )
    print(f"   {ratio:.2f} x as fast   (once {first - joined:.1f} s)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rules", default="bp,drtp,pepita")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command does
    for net in NETS:
        for rule in given.rules.split(","):
            compare(rule, net, given.seeds, given.batches, given.rounds)


if __name__ == "__main__":
    main()
