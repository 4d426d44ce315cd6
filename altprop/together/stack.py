"""Several learners of one recipe that differ in their seeds, stepped as one: one graph, and one optimizer for all.

The tensors of each become views of what is stacked, so that whatever else looks at a learner sees it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from altprop.run.compiling import as_labels
from altprop.run.learner import Learner
from altprop.together.tracing import flatten
from altprop.tracing.graph import Apart, Step, same_buffers

# Optimizers that treat every number of a parameter alike, and how they take the fewest passes over memory.
ELEMENTWISE: dict[type[torch.optim.Optimizer], dict[str, Any]] = {
    torch.optim.SGD: {"fused": True}, torch.optim.Adam: {"fused": True}, torch.optim.AdamW: {"fused": True},
    torch.optim.RMSprop: {},
}  # fmt: skip
SHARED = "step"  # what of an optimizer's state is one number for all


class Random:
    """The random state of one run among others."""

    def __init__(self) -> None:
        self.state = torch.get_rng_state()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """What is drawn inside is drawn from it."""
        before = torch.get_rng_state()
        torch.set_rng_state(self.state)
        try:
            yield
        finally:
            self.state = torch.get_rng_state()
            torch.set_rng_state(before)


class Stack:
    """Learners in the same turn, each with its random state, put together on a batch of each.

    Raises ``Apart`` where they cannot be."""

    def __init__(self, learners: Sequence[Learner], randoms: Sequence[Random], batches: Sequence[Sequence[Tensor]]):
        self.learners, self.randoms = learners, randoms
        self.shapes = [part.shape for part in batches[0]]
        if learners[0].rule.claims.updates > 1:
            raise Apart("it updates its layers more than once a batch")
        if not self._fits(batches):
            raise Apart("the batches of its seeds differ in size")
        steps = [_step(learner, batch) for learner, batch in zip(learners, batches, strict=True)]
        self.run, self.draw, self.each_held, self.graded = flatten(steps, [random.state for random in randoms])
        self._place()
        self.optimizers = [_Joined(own, self.stacks) for own in zip(*(own.optimizers for own in learners), strict=True)]

    def _place(self) -> None:
        """Stack what is held or learns, and let each learner have its part of that."""
        self.stacks: dict[Tensor, Tensor] = {}  # by the tensor of the first
        parameters = [_parameters(learner) for learner in self.learners]
        for first, *others in (*zip(*parameters, strict=True), *zip(*self.each_held, strict=True)):
            if first in self.stacks:
                continue
            stack = torch.stack([first.detach(), *(other.detach() for other in others)])
            self.stacks[first] = nn.Parameter(stack) if isinstance(first, nn.Parameter) else stack
            for own, part in zip((first, *others), stack, strict=True):
                own.data = part
        self.held = [self.stacks[tensor] for tensor in self.each_held[0]]
        self.learning = [parameters[0][index] for index in self.graded]

    def _fits(self, batches: Sequence[Sequence[Tensor]]) -> bool:
        return all([part.shape for part in batch] == self.shapes for batch in batches)

    def step(self, batches: Sequence[Sequence[Tensor]]) -> list[float]:
        """One batch (x, *labels) of each; returns their losses.  Whose loss is not finite keeps its weights."""
        if not self._fits(batches):  # the rest of an epoch
            return self._apart(lambda index: step_alone(self.learners[index], batches[index], self.randoms[index]))
        with torch.no_grad():
            losses, *gradients = self.run(
                *map(torch.stack, zip(*batches, strict=True)), *self.held, *self._drawn(batches)
            )
        told: list[float] = losses.tolist()
        if all(map(isfinite, told)) and all(joined.optimizer is not None for joined in self.optimizers):
            for first, gradient in zip(self.learning, gradients, strict=True):
                self.stacks[first].grad = gradient.contiguous()
            for joined in self.optimizers:
                joined.step()
            return told

        def step(index: int) -> float:
            if isfinite(told[index]):
                _step_by(self.learners[index], self.graded, [gradient[index] for gradient in gradients])
            return told[index]

        return self._apart(step)

    def _drawn(self, batches: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        if self.draw is None:
            return []
        each = []
        for random, batch, held in zip(self.randoms, batches, self.each_held, strict=True):
            with random.taken():
                each.append(self.draw(*batch, *held))
        return [torch.stack(parts) for parts in zip(*each, strict=True)]

    def _apart(self, step: Callable[[int], float]) -> list[float]:
        """One step of each by its own optimizers."""
        self.settle()
        losses = [step(index) for index in range(len(self.learners))]
        if all(map(isfinite, losses)):  # else these do not stay together
            for joined in self.optimizers:
                joined.gather()
        return losses

    def settle(self) -> None:
        """Give each learner's optimizers what they would hold by themselves."""
        for joined in self.optimizers:
            joined.hand_out()


def _step(learner: Learner, batch: Sequence[Tensor]) -> Step:
    step = learner.turn.step
    return Step(learner.rule, _parameters(learner), lambda x, *y: step(x, as_labels(y)), batch)


def _parameters(learner: Learner) -> list[nn.Parameter]:
    """What the optimizers of a learner step, in their order."""
    return [parameter for optimizer in learner.optimizers for parameter in _of(optimizer)]


def _of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _step_by(learner: Learner, graded: Sequence[int], gradients: Sequence[Tensor]) -> None:
    parameters = _parameters(learner)
    for index, gradient in zip(graded, gradients, strict=True):
        parameters[index].grad = gradient
    for optimizer in learner.optimizers:
        optimizer.step()
        optimizer.zero_grad()


def step_alone(learner: Learner, batch: Sequence[Tensor], random: Random) -> float:
    with random.taken(), same_buffers(learner.rule):
        return learner.step(batch[0], as_labels(batch[1:]))


class _Joined:
    """The optimizers of the learners at one place as one, or None where they are not elementwise."""

    def __init__(self, own: Sequence[torch.optim.Optimizer], stacks: dict[Tensor, Tensor]) -> None:
        self.own, kind = own, type(own[0])
        self.optimizer: torch.optim.Optimizer | None = None
        if kind in ELEMENTWISE:
            left_out = ("params", "foreach", "fused")
            settings = [{k: v for k, v in group.items() if k not in left_out} for group in own[0].param_groups]
            groups = [
                {**kept, "params": [stacks[p] for p in group["params"]]}
                for kept, group in zip(settings, own[0].param_groups, strict=True)
            ]
            self.optimizer = kind(groups, **ELEMENTWISE[kind])
            self.gather()

    def step(self) -> None:
        assert self.optimizer is not None
        for group, first in zip(self.optimizer.param_groups, self.own[0].param_groups, strict=True):
            group["lr"] = first["lr"]
        self.optimizer.step()

    def gather(self) -> None:
        """Take over what the optimizers of each hold."""
        if self.optimizer is None:
            return
        for stack, *parameters in zip(_of(self.optimizer), *map(_of, self.own), strict=True):
            states = [own.state[p] for own, p in zip(self.own, parameters, strict=True)]
            for key, value in states[0].items():
                if isinstance(value, Tensor):
                    value = value.clone() if key == SHARED else torch.stack([state[key] for state in states])
                self.optimizer.state[stack][key] = value

    def hand_out(self) -> None:
        """The opposite of ``gather``."""
        if self.optimizer is None:
            return
        for stack, *parameters in zip(_of(self.optimizer), *map(_of, self.own), strict=True):
            for key, value in self.optimizer.state[stack].items():
                for index, (own, parameter) in enumerate(zip(self.own, parameters, strict=True)):
                    part = value.clone() if key == SHARED else value[index] if isinstance(value, Tensor) else value
                    own.state[parameter][key] = part
