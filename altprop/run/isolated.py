"""What belongs to the caller of a run: the random state and the threads of torch, and the net that came from outside.

A run draws from torch's global generators, since dropout knows no other; so it takes them, seeded anew, and gives them
back as they were when it ends, however it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

C = TypeVar("C", bound="Callable[..., Any] | None")
Lend = Callable[[Any], Any]


class _State(NamedTuple):
    cpu: Tensor
    cuda: list[Tensor] | None  # None where no GPU has been touched yet, whose seed is then the CPU's
    threads: int


def _taken() -> _State:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return _State(torch.get_rng_state(), cuda, torch.get_num_threads())


def _give_back(state: _State) -> None:
    torch.set_rng_state(state.cpu)
    if state.cuda is not None:
        torch.cuda.set_rng_state_all(state.cuda)
    elif torch.cuda.is_available():
        torch.cuda.manual_seed_all(torch.initial_seed())
    if torch.get_num_threads() != state.threads:
        torch.set_num_threads(state.threads)


@contextmanager
def isolated() -> Iterator[Lend]:
    """Random state and threads inside are the run's, and nothing of the caller's reaches it, ``no_grad`` neither;
    afterwards they are the caller's again.

    Yields what makes a callback of the caller's (None stays None) run in the caller's state, and not in the run's."""
    caller = _taken()

    def lend(callback: C) -> C:
        def call(*arguments: Any) -> Any:
            nonlocal caller
            own = _taken()
            _give_back(caller)
            try:
                return callback(*arguments)  # type: ignore[misc]
            finally:
                caller = _taken()
                _give_back(own)

        return callback if callback is None else call  # type: ignore[return-value]

    try:
        torch.manual_seed(0)  # for what is drawn before the run's own seed, such as the order of a DataLoader
        with torch.inference_mode(False), torch.enable_grad():
            yield lend
    finally:
        _give_back(caller)


@contextmanager
def borrowed(net: nn.Module | None) -> Iterator[None]:
    """A net that the caller gave: what learns in it is afterwards what learned before and, where the run fails, the
    modes of its modules are as they were too."""
    modules = [] if net is None else list(net.modules())
    modes = [module.training for module in modules]
    learns = [] if net is None else [(parameter, parameter.requires_grad) for parameter in net.parameters()]
    done = False
    try:
        yield
        done = True
    finally:
        for parameter, learned in learns:
            parameter.requires_grad_(learned)
        for module, mode in zip(modules, modes, strict=True):
            module.training = module.training if done else mode
