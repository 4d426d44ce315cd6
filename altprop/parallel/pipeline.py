"""Layer parallel: each process owns some layers that follow each other, and hands their activity on to the next, so
that every one learns from its batch while the batch behind is already below.

    process 0   layers 1 .. l     batch k + 1
    process 1   layers l + 1 ..   batch k

A rule without update locking is written as stages, in which a layer learns from what comes from below and from the
targets, and from nothing else.  A layer meets the batches in their order, and hands on what it said before it was
stepped, as in one process: nothing is stale and nothing is recomputed, so that the weights are those of one process to
the bit.  Only what a rule or dropout draws differs, since each process draws by a stream of its own.

At the end of an epoch every process gets all layers and moments, so that it measures and checkpoints as one that is
alone.  The loss of a batch is known at the top; what the first process hears of meanwhile is 0.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from math import isfinite
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from altprop.core import Rule, Staged
from altprop.parallel.peers import Peers
from altprop.parallel.shared import begin_alike, own_stream
from altprop.run.learner import Learner
from altprop.run.precision import PRECISIONS
from altprop.run.recipe import RunError
from altprop.run.team import Team

AHEAD = 2  # batches that a process may be before the next one
HEAD = 64  # numbers that a message begins with: whether to stop, how many tensors, and of each its shape


def parted(work: list[float], size: int) -> list[range]:
    """Which layers each process owns: some that follow each other, of about the same work."""
    sums, first, found = list(accumulate(work)), 0, []
    for rank in range(1, size + 1):
        wanted = sum(total < sums[-1] * rank / size for total in sums) + 1
        end = len(work) if rank == size else max(first + 1, min(wanted, len(work) - size + rank))
        found.append(range(first, end))
        first = end
    return found


class Pipeline(Team):
    """This process among those that own the layers of one net.  asked: whether it was asked to stop."""

    own: range  # the layers that are this process's
    before: dict[str, Tensor]  # the rule as all have it

    def __init__(self, peers: Peers, asked: threading.Event) -> None:
        self.peers, self.asked, self.leads = peers, asked, peers.rank == 0
        self.stop = threading.Event()
        self.sent: list[list[tuple[Any, Tensor]]] = []  # of each batch that is under way to the next process

    @contextmanager
    def interruptible(self) -> Iterator[threading.Event]:
        yield self.stop

    def join(self, learner: Learner) -> None:
        """Raises ``RunError`` for a run whose layers wait for each other, and for fewer layers than processes."""
        rule, size = learner.rule, self.peers.size
        if not isinstance(rule, Staged) or [turn.step for turn in learner.turns] != [rule.credit]:
            what = f"rule '{learner.recipe.rule}' came for a pipeline, but it does not train all layers at once, each"
            raise RunError(f"{what} by itself: give one such as drtp, without phases of their own, or no --pipeline")
        if len(rule.layers) < size:
            what = f"{size} processes came for a net of {len(rule.layers)} layers"
            raise RunError(f"{what}: start at most as many as there are layers, or give a deeper --net")
        begin_alike(self.peers, learner)
        self.own = parted(_work(rule), size)[self.peers.rank]
        self.before = {key: tensor.clone() for key, tensor in rule.state_dict().items()}

    def step(self, learner: Learner, x: Tensor, y: Any) -> float:
        rule: Any = learner.rule
        stop, h, loss = self.asked.is_set(), x, None
        if not learner.streaming:
            learner.zero_grad()
        with own_stream(self.peers.rank), PRECISIONS[learner.recipe.precision]():
            t = None if y is None else rule.targets(y, len(x))
            if self.own.start:
                stop, h = self._receive(rule.like)
            for index in self.own if h is not None else ():
                h, loss = rule.stage(index, h, t)
                if learner.streaming:
                    learner.update(rule.layers[index])
        if self.own.stop < len(rule.layers):
            self._send(stop, h, rule.like)
        told = 0.0 if loss is None else float(loss)
        if not learner.streaming and isfinite(told):
            learner.descend()  # of the layers here, which alone have gradients
        if stop:
            self.stop.set()
        return told

    @torch.no_grad()
    def settle(self, learner: Learner, position: Any) -> None:
        """Everybody gets what each has changed, the moments of its optimizers, and the loss from the top."""
        self._wait(0)
        state = learner.rule.state_dict()
        changed = [key for key, tensor in state.items() if not torch.equal(tensor, self.before[key])]
        told = self.peers.gather((changed, self._moments(learner), position.loss_sum, position.first))
        for rank, (keys, moments, _, _) in enumerate(told):
            for key in keys:
                self.peers.follow(whole := state[key].contiguous(), rank)
                state[key].copy_(whole)
            for (number, index), entries in moments.items() if rank != self.peers.rank else ():
                optimizer = learner.optimizers[number]
                p = [p for group in optimizer.param_groups for p in group["params"]][index]
                optimizer.state[p] = {
                    name: value.to(p.device) if isinstance(value, Tensor) and value.dim() else value
                    for name, value in entries.items()
                }
        position.loss_sum, position.first = told[-1][2:]
        self.before = {key: tensor.clone() for key, tensor in state.items()}

    def _moments(self, learner: Learner) -> dict[tuple[int, int], dict[str, Any]]:
        """What the optimizers keep of the layers here, by optimizer and parameter."""
        own = {p for index in self.own for p in learner.rule.layers[index].parameters()}
        found: dict[tuple[int, int], dict[str, Any]] = {}
        for number, optimizer in enumerate(learner.optimizers):
            for index, p in enumerate(p for group in optimizer.param_groups for p in group["params"]):
                if p in own and p in optimizer.state:
                    entries = optimizer.state[p].items()
                    found[number, index] = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in entries}
        return found

    def _send(self, stop: bool, h: Any, like: Tensor) -> None:
        tensors = [] if h is None else list(h) if isinstance(h, tuple) else [h]
        shapes = [number for tensor in tensors for number in (tensor.dim(), *tensor.shape)]
        numbers = [int(stop), len(tensors) if isinstance(h, tuple) else -len(tensors), *shapes]
        head = torch.tensor(numbers + [0] * (HEAD - len(numbers)), device=like.device)
        try:
            whole = [part.contiguous() for part in (head, *tensors)]
            self.sent.append([(dist.isend(part, self.peers.rank + 1), part) for part in whole])  # kept until there
        except RuntimeError as error:
            raise self.peers.miss(error) from error
        self._wait(AHEAD)

    def _receive(self, like: Tensor) -> tuple[bool, Any]:
        head = torch.empty(HEAD, dtype=torch.int64, device=like.device)
        try:
            dist.recv(head, self.peers.rank - 1)
            stop, count, *numbers = head.tolist()
            tensors = []
            for _ in range(abs(count)):
                dim, numbers = numbers[0], numbers[1:]
                tensors.append(like.new_empty(numbers[:dim], requires_grad=False))
                numbers = numbers[dim:]
                dist.recv(tensors[-1], self.peers.rank - 1)
        except RuntimeError as error:
            raise self.peers.miss(error) from error
        return bool(stop), tuple(tensors) if count > 0 else tensors[0] if tensors else None

    def _wait(self, left: int) -> None:
        """Until at most so many batches are under way."""
        try:
            while len(self.sent) > left:
                for work, _ in self.sent.pop(0):
                    work.wait()
        except RuntimeError as error:
            raise self.peers.miss(error) from error


def _work(rule: Rule) -> list[float]:
    """Of each layer its multiply-adds for a sample, forward."""
    each = zip(rule.layers, rule.shapes, strict=True)
    return [sum(p.numel() for p in layer.synapse.parameters()) * max(1, s.a[1:].numel()) for layer, s in each]
