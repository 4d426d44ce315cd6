"""The floor of a step: what a rule cannot do without, alone and by the fastest way.

A floor is read from the rule itself: the products that its ``credit`` computes on this batch, each on the tensors that
it had there, by the faster of MKL and oneDNN (``products``), and the optimizer's step, in which every rule ends as
``loss.backward()`` does.  No activation, loss or allocation counts.

What it is not: a proof.  A product whose result nobody reads counts, and so does one that algebra could make smaller;
a rule that finds such a way lowers its own floor, as PEPITA's second pass by (W F) e has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from altprop.bench.products import fastest, products, ways
from altprop.core import Rule
from altprop.measure.probe import undone

Optimize = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class Floor(NamedTuple):
    """products and update are callables that do it once; ways: how many products go by which."""

    products: Callable[[], None]
    update: Callable[[], None]
    ways: dict[str, int]

    def step(self) -> None:
        self.products()
        self.update()


def floor(rule: Rule, x: Tensor, y: Tensor, optimize: Optimize) -> Floor:
    """Of one step on this batch, of which ``optimize(parameters)`` makes the optimizer; the rule is left as it was."""
    with torch.no_grad():
        chosen: dict[tuple[Any, ...], str] = {}
        calls: list[Callable[[], Any]] = []
        count: Counter[str] = Counter()
        for product in products(rule, x, y):
            known = ways(product)
            name = chosen.get(product.signature) or fastest(known)
            chosen[product.signature] = name
            calls.append(known[name])
            count[name] += 1
        return Floor(_all(calls), _update(rule, x, y, optimize), dict(count))


def _all(calls: list[Callable[[], Any]]) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            for call in calls:
                call()

    return run


def _update(rule: Rule, x: Tensor, y: Tensor, optimize: Optimize) -> Callable[[], None]:
    """The optimizer's step on copies of what gets a gradient, by that gradient."""
    with undone(rule):
        rule.credit(x, y)
        learning = [(parameter, parameter.grad) for parameter in rule.parameters() if parameter.grad is not None]
    copies = []
    for parameter, gradient in learning:
        copies.append(nn.Parameter(parameter.detach().clone()))
        copies[-1].grad = gradient
    step: Callable[[], None] = optimize(copies).step
    return step
