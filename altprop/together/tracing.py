"""The steps of several rules as one: one graph, batched over all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx

from altprop.tracing.graph import Apart, Step, drawing, functional, is_near


class Flat(NamedTuple):
    """The steps of several rules as one."""

    run: Callable[..., list[Tensor]]  # (*batch, *held, *drawn), each (rules, ...) -> [losses, *gradients]
    draw: Callable[..., list[Tensor]] | None  # (*batch, *held) of one rule -> what it draws
    held: list[list[Tensor]]  # of each rule
    graded: list[int]  # which of the parameters have a gradient


def flatten(steps: Sequence[Step], randoms: Sequence[Tensor]) -> Flat:
    """One graph for all, by that of the first; randoms: the random state that each draws from.

    Raises ``Apart`` where it has other results than each by itself."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        wanted = [drawing(random, step.observed) for step, random in zip(steps, randoms, strict=True)]
        graph, first, draw = functional(steps[0])
        names = {id(tensor): name for name, tensor in steps[0].named().items()}
        states = [step.named() for step in steps]
        held = [[state[names[id(t)]] if id(t) in names else t for t in first] for state in states]
        own = [[*step.batch, *(t.detach() for t in each)] for step, each in zip(steps, held, strict=True)]
        if draw is not None:
            own = [[*each, *drawing(random, draw, *each)] for each, random in zip(own, randoms, strict=True)]
        stacked = [torch.stack(parts) for parts in zip(*own, strict=True)]
        flat = make_fx(vmap(graph, randomness="error"))(*(t.clone() for t in stacked))
        _check(flat(*stacked), wanted)
    return Flat(flat.forward, draw, held, wanted[0][1])


def _check(found: Sequence[Tensor], wanted: Sequence[tuple[list[Tensor], list[int]]]) -> None:
    """Each against its rule by itself, whose branches on values or on its own numbers no graph holds."""
    for index, (values, graded) in enumerate(wanted):
        near = [is_near(all_of[index], value) for all_of, value in zip(found, values, strict=True)]
        if graded != wanted[0][1] or not all(near):
            raise Apart("put together it has other results than by itself")
