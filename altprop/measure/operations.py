"""What one assignment of credit computes, and what a rule holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from altprop.backend import HAS_ONEDNN
from altprop.core import Rule
from altprop.measure.probe import undone


def multiply_adds(rule: Rule, x: Tensor, y: Tensor) -> float:
    """Multiply-adds a sample of one ``credit(x, y)``: half the FLOPs of its matrix products, convolutions and attention
    by torch's own formulas (``torch.utils.flop_counter``), divided by the samples.

    Not counted: what is done element by element (activations, norms, losses, the optimizer's step), sums, sorting and
    drawing random numbers; a product with many zeros counts as a full one.  Run in the modes that the rule is in; what
    ``credit`` leaves is taken back."""
    counter = _Counter()
    with undone(rule), counter:
        rule.credit(x, y)
    return counter.flops / 2 / len(x)


class Held(NamedTuple):
    """Bytes."""

    parameters: int  # of the net
    feedback: int  # what the rule has beside the net: feedback, decoders, masks, thresholds


def held(rule: Rule) -> Held:
    """The bytes of a net's parameters, and of the parameters and buffers that the rule has beside its net."""
    own = {id(tensor) for tensor in (*rule.net.parameters(), *rule.net.buffers())}
    beside = {id(t): t for t in (*rule.parameters(), *rule.buffers()) if id(t) not in own}
    return Held(sum(map(_bytes, rule.net.parameters())), sum(map(_bytes, beside.values())))


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """What an optimizer keeps beside the parameters, as it is now: before its first step mostly nothing."""
    entries = (value for state in optimizer.state.values() for value in state.values())
    return sum(_bytes(value) for value in entries if isinstance(value, Tensor))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _onednn(x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    """x (..., n) W^T (n, m)."""
    return 2 * x.numel() * len(weight)


aten = torch.ops.aten
FORMULAS: dict[Any, Callable[..., Any]] = dict(flop_registry)
FORMULAS |= {aten.addmm_: FORMULAS[aten.addmm], aten.baddbmm_: FORMULAS[aten.baddbmm]}  # in place, which torch forgets
if HAS_ONEDNN:
    FORMULAS[torch.ops.mkldnn._linear_pointwise] = _onednn


class _Counter(TorchDispatchMode):
    """Adds up the FLOPs of the operations under it; torch's ``FlopCounterMode`` does not bear ``torch.autograd.grad``
    inside of a hook on modules, which is how a module without a closed form is differentiated."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = FORMULAS.get(func._overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **(kwargs or {}), out_val=result))
        return result
