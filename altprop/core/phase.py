"""A phase of training, as a rule tells of it: a run is a list of phases, and who trains knows nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from altprop.core.layer import Layer


class Phase(NamedTuple):
    """What learns at one time, and how.

    name: by which a recipe's table ``[[phase]]`` finds it.  moves: modules that learn; all else is frozen and in eval
    mode.  step: (x (N, *in), y or None, ready) -> loss; it fills the gradients of what moves.  labels: whether it is
    given y.  epochs: None, as many as the run; 0: left out, unless a recipe gives it some.
    beside: it learns in the batches of the phase before it, whose step teaches both, unless a recipe parts them."""

    name: str
    moves: tuple[nn.Module, ...]
    step: Callable[..., Tensor]
    labels: bool = True
    epochs: int | None = None
    beside: bool = False


def modules_of(layer: Layer) -> tuple[nn.Module, ...]:
    """All of a layer, as ``Phase.moves`` takes it."""
    return tuple(part for part in (layer.inlet, layer.synapse, layer.activation, layer.beside) if part is not None)
