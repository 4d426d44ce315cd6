"""Data parallel: every process credits its share of each batch, and the gradients of a layer are averaged as soon as
``ready`` tells of it, while the layers that are left still compute.

    grad = sum_k n_k / N grad_k        n_k samples of the batch of N are process k's

A batch is that of the recipe, whatever the number of processes, and every process draws the same order and the same
augmentation: K processes compute what one does, up to rounding.  What a rule or dropout draws in a credit each process
draws by a stream of its own, so that such runs are equal in distribution alone.  A BatchNorm sees the share of its
process, as is usual; its running statistics are averaged in every step, as no broadcast of one process's would.

A batch of less than two samples a process, such as the rest of an epoch, each computes whole, and so does a readout
whose rule is of no averages.  All that is not a credit, features of a readout and measures too, each process computes
for itself: none waits for another's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from altprop.core import Layer, Weighted
from altprop.limits import shorten
from altprop.parallel.mean import Changes, Means
from altprop.parallel.peers import Peers
from altprop.run.directory.store import describe
from altprop.run.learner import Learner
from altprop.run.recipe import RunError
from altprop.run.team import Team

STREAM = 0x9E3779B1  # odd, so that processes of one seed draw differently


class Shared(Team):
    """This process among those that share every batch.  asked: whether it was asked to stop."""

    def __init__(self, peers: Peers, asked: threading.Event) -> None:
        self.peers, self.asked, self.leads = peers, asked, peers.rank == 0
        self.stop = threading.Event()  # once any process was asked, in the same step of all

    @contextmanager
    def interruptible(self) -> Iterator[threading.Event]:
        yield self.stop

    def join(self, learner: Learner) -> None:
        """Raises ``RunError`` for a run that cannot be shared, and for data that differ."""
        self._check(learner)
        begin_alike(self.peers, learner)

    def step(self, learner: Learner, x: Tensor, y: Any) -> float:
        claims = learner.rule.claims
        shares = _Shares(self.peers.rank, self.peers.size, len(x), claims.views, parted=claims.averages)
        changes, means = Changes(learner.rule), Means(self.peers, shares.own)
        told: set[Tensor] = set()

        def ready(layer: Layer) -> None:
            told.update(layer.parameters())
            means.begin(p.grad for p in layer.parameters() if p.grad is not None)
            if learner.streaming:
                means.take()
                learner.update(layer)

        if not learner.streaming:
            learner.zero_grad()
        with own_stream(self.peers.rank):
            loss = learner.credit(shares.cut(x), shares.cut_labels(y), ready)
        if not learner.streaming:
            groups = (group for optimizer in learner.optimizers for group in optimizer.param_groups)
            rest = (p for group in groups for p in group["params"] if p not in told)
            means.begin(p.grad for p in rest if p.grad is not None)
        asked = loss.new_tensor(float(self.asked.is_set()))
        said = [loss.detach().clone(), asked, *changes.differences()]
        means.begin(said)
        means.take()
        changes.put(said[2:])
        if float(said[1]) > 0 or self.peers.missed:
            self.stop.set()
        if not learner.streaming and isfinite(said[0].item()):
            learner.descend()
        return said[0].item()

    def settle(self, learner: Learner, position: Any) -> None:
        """Every process has all."""

    def _check(self, learner: Learner) -> None:
        recipe, size = learner.recipe, self.peers.size
        if not learner.rule.claims.averages:
            what = f"rule '{recipe.rule}' came for {size} processes, but with these arguments its gradient of a batch"
            raise RunError(f"{what} is not the mean of its samples': train it in one, or take a rule that 'averages'")
        smallest = min(turn.recipe.batch for turn in learner.turns)
        if smallest < 2 * size:
            what = f"a batch of {smallest} came for {size} processes"
            raise RunError(f"{what}: give --batch {2 * size} or more, two samples each, or fewer processes")
        kind, _, number = recipe.device.partition(":")
        if number or (kind == "cuda" and torch.cuda.device_count() <= self.peers.local):
            what = f"--device {recipe.device} came for {size} processes, and each needs one of its own"
            raise RunError(f"{what}: leave out its number, and start as many on a machine as it has devices")


def begin_alike(peers: Peers, learner: Learner) -> None:
    """Everybody has the data and the weights of the first process; raises ``RunError`` for other data, and where steps
    are to be compiled, which are taken apart here."""
    if learner.recipe.compile:
        raise RunError("compile came for several processes, which take a step apart: leave one of them out")
    said = peers.gather(describe(learner.data))
    for rank, other in enumerate(said):
        if other != said[0]:
            key = next(key for key in other if other[key] != said[0][key])
            what = f"process {rank} has other data than process 0, {key} {shorten(other[key], 60)}"
            raise RunError(f"{what} and not {shorten(said[0][key], 60)}: give all the same")
    for tensor in learner.rule.state_dict().values():
        peers.follow(whole := tensor.contiguous(), 0)
        tensor.copy_(whole)


@contextmanager
def own_stream(rank: int) -> Iterator[None]:
    """Draws of this process alone.  What all draw in common goes on behind it as if one number had been drawn, so that
    a checkpoint of the first process resumes all, and any number of them."""
    seed = int(torch.randint(2**62, ()))
    common = torch.get_rng_state()
    torch.manual_seed((seed + rank * STREAM) % 2**63)
    try:
        yield
    finally:
        torch.set_rng_state(common)


class _Shares:
    """Which samples of a batch of several views are a process's, and how much they count."""

    def __init__(self, rank: int, size: int, rows: int, views: int, parted: bool = True) -> None:
        samples = rows // views
        whole = samples < 2 * size or not parted
        first, last = (0, samples) if whole else (samples * rank // size, samples * (rank + 1) // size)
        self.own = 1 / size if whole else (last - first) / samples
        self.rows = [slice(view * samples + first, view * samples + last) for view in range(views)]

    def cut(self, x: Tensor) -> Tensor:
        return x[self.rows[0]] if len(self.rows) == 1 else torch.cat([x[rows] for rows in self.rows])

    def cut_labels(self, y: Any) -> Any:
        return None if y is None else Weighted(self.cut(y.y), self.cut(y.w)) if isinstance(y, Weighted) else self.cut(y)
