"""What the training loop adds to credit and step: an epoch of PEPITA on MNIST, 784-1024-10, batch 64, one thread.

    ALTPROP_DATA=... python benchmarks/loop.py [--rounds 3]

Bare: as many ``credit`` + ``step`` calls on ready tensors.  Loop: the trainer of ``altprop train``, with shuffling,
scaling, the check of the loss, progress and metrics; evaluation is apart.  Random images stand in where MNIST is not
there.
"""

import argparse
import time
from statistics import median

import torch

from altprop.data import DataError, Dataset, batches, load
from altprop.run.build import prepare
from altprop.run.course import Position, alone
from altprop.run.train import course
from altprop.run.values import make_recipe


def mnist():
    try:
        return load("mnist", progress=False)
    except DataError:
        x = torch.randint(0, 256, (60000, 1, 28, 28), dtype=torch.uint8)
        y = torch.arange(60000) % 10
        return Dataset("random", x, y, x[:100], y[:100], tuple("0123456789"))


def learner_of(data):
    recipe = make_recipe(rule="pepita", net="784-1024-10", epochs=1, threads=1, measure=False)
    return prepare(recipe, data)


def bare(data):
    learner = learner_of(data)
    ready = [(x.clone(), y) for x, y in batches(data.x_train, data.y_train, 64)]
    start = time.perf_counter()
    for x, y in ready:
        learner.step(x, y)
    return time.perf_counter() - start


def loop(data):
    position = Position()
    learner = learner_of(data)
    alone(course(learner, position, None, learner.team.interruptible, progress=lambda *place: None))
    return position.seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    data = mnist()
    pairs = [(bare(data), loop(data)) for _ in range(parser.parse_args().rounds)]
    print(f"{data.name}: bare {median(b for b, _ in pairs):.2f} s, loop {median(t for _, t in pairs):.2f} s,", end=" ")
    print(f"ratio {median(t / b for b, t in pairs):.3f}")


if __name__ == "__main__":
    main()
