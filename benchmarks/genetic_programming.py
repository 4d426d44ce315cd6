"""Evaluation of a generation of programs against DEAP's, in one process, one thread.

    python benchmarks/genetic_programming.py [--rounds 7] [--size 300] [--points 20]

Every tenth generation of a run of symbolic regression, with the rates of DEAP's example and in float64, is measured:
both are asked for the mean squared errors of the same programs at the same points.  DEAP has them read beforehand, and
does with each what its example does, a ``compile`` and a call for each point; "arrays" is one call on a NumPy array of
all points.  ``whole`` is a generation of altprop with selection, crossover and mutation.  A time is the median of the
rounds, in which each has its turn; "apart" is the largest difference of errors.  DEAP is no dependency: without it
altprop is measured alone.
"""

import argparse
import math
import operator
import time
from statistics import median

import numpy
import torch

import altprop
from altprop.tasks import SymbolicRegression
from altprop.tasks.symbolic_regression import quartic

try:
    from deap import gp
except ImportError:
    gp = None


def divide(a, b):
    return a / b if b != 0 else 1.0


def divide_arrays(a, b):
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.where(numpy.equal(b, 0), 1.0, numpy.true_divide(a, b))


PLAIN = operator.add, operator.sub, operator.mul, divide, operator.neg, math.cos, math.sin
ARRAYS = numpy.add, numpy.subtract, numpy.multiply, divide_arrays, numpy.negative, numpy.cos, numpy.sin


def language(functions):
    """A primitive set of DEAP by the names of altprop's."""
    made = gp.PrimitiveSet("MAIN", 1)
    for name, function in zip(("add", "sub", "mul", "div", "neg", "cos", "sin"), functions, strict=True):
        made.addPrimitive(function, 1 if name in ("neg", "cos", "sin") else 2, name=name)
    made.renameArguments(ARG0="x0")
    return made


def by_point(trees, primitives, x, t):
    """As DEAP's example has it."""
    errors = []
    for tree in trees:
        f = gp.compile(tree, primitives)
        errors.append(math.fsum((f(point) - target) ** 2 for point, target in zip(x, t, strict=True)) / len(x))
    return errors


def by_array(trees, primitives, x, t):
    """One call a program."""
    return [float(numpy.mean((gp.compile(tree, primitives)(x) - t) ** 2)) for tree in trees]


def evaluations(task, search):
    """Name -> a function that gives the errors of this generation."""
    ways = {"altprop": lambda: (-task.fitness(search.ask())).tolist()}
    if gp is not None:
        plain, arrays = language(PLAIN), language(ARRAYS)
        texts = [str(program) for program in search.programs()]
        trees, others = ([gp.PrimitiveTree.from_string(text, made) for text in texts] for made in (plain, arrays))
        x, t = task.x[:, 0], task.t
        ways["DEAP"] = lambda: by_point(trees, plain, x.tolist(), t.tolist())
        ways["arrays"] = lambda: by_array(others, arrays, x.numpy(), t.numpy())
    return ways


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--points", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    x = torch.arange(given.points, dtype=torch.float64)[:, None] * (2 / given.points) - 1
    task = SymbolicRegression(quartic, x)
    search = altprop.GP(1, size=given.size, p_c=0.5, p_m=0.1, elite=0, dtype=torch.float64)
    print(f"{given.size} programs, {given.points} points; milliseconds")
    for generation in range(41):
        if generation % 10 == 0:
            ways = evaluations(task, search)
            errors = {name: numpy.array(way()) for name, way in ways.items()}
            times = {name: [] for name in (*ways, "whole")}
        for _ in range(given.rounds if generation % 10 == 0 else 0):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                times[name].append(1e3 * (time.perf_counter() - start))
        nodes = search.watch()["nodes"]
        start = time.perf_counter()
        search.tell(task.fitness(search.ask()))
        times["whole"].append(1e3 * (time.perf_counter() - start))
        if generation % 10 == 9 or generation == 40:
            told = {name: median(found) for name, found in times.items()}
            line = "  ".join(f"{name} {took:.1f}" for name, took in told.items())
            rivals = "  ".join(f"x{told[name] / told['altprop']:.1f} of {name}" for name in list(ways)[1:])
            apart = max(float(numpy.nanmax(abs(errors[name] - errors["altprop"]))) for name in ways)
            print(f"generation {generation // 10 * 10}: {nodes:.0f} nodes  {line}  {rivals}  apart {apart:.1e}")


if __name__ == "__main__":
    main()
