"""What the products of a training step are made of: float32, or operands rounded to bfloat16.

Weights, sums and everything that is no product stay float32.  Torch's own switch only allows oneDNN to round, which it
does on some processors and for some sizes; here each operand is rounded, so that the numbers are the same everywhere up
to the order of sums, and the switch is left to make them fast where it can.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from altprop.core import Rule
from altprop.core.product import HAS_ONEDNN
from altprop.limits import Notice
from altprop.run.recipe import RunError

aten = torch.ops.aten
SIDE = 256  # of the square matrices by whose product torch is asked whether it rounds by itself

#: Torch's products, and which of their arguments are multiplied with each other.  What it does in one kernel beyond
#: these, such as fused attention and recurrent layers, stays float32.
OPERANDS: dict[Any, tuple[int, ...]] = {
    aten.mm: (0, 1), aten.bmm: (0, 1), aten.mv: (0, 1), aten.dot: (0, 1), aten.vdot: (0, 1),
    aten.addmm: (1, 2), aten.addmm_: (1, 2), aten.baddbmm: (1, 2), aten.baddbmm_: (1, 2),
    aten.addbmm: (1, 2), aten.addbmm_: (1, 2), aten.addmv: (1, 2), aten.addmv_: (1, 2),
    aten.convolution: (0, 1), aten.convolution_backward: (0, 1, 2),
}  # fmt: skip
if HAS_ONEDNN:
    OPERANDS[torch.ops.mkldnn._linear_pointwise] = (0, 1)


class Bfloat16Products(TorchDispatchMode):
    """Inside of it the products of float32 tensors take operands that are bfloat16 numbers, autograd's too."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No, since nothing is compiled in here, and torch would import its compiler for that, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operands = OPERANDS.get(func._overloadpacket)
        if operands is None:
            return func(*args, **(kwargs or {}))
        rounded = [_rounded(each) if index in operands else each for index, each in enumerate(args)]
        with _bfloat16_allowed():
            results = func(*rounded, **(kwargs or {}))
        if func is aten.convolution_backward.default and args[-1][2]:
            return *results[:2], _sum_of_channels(args[0])
        return results


def _rounded(operand: Tensor) -> Tensor:
    """The nearest bfloat16 numbers, to even where two are as near."""
    return operand.bfloat16().float() if operand.dtype == torch.float32 else operand


def _sum_of_channels(signal: Tensor) -> Tensor:
    """(N, C, *positions) -> (C,): what a convolution's bias learns by, which is no product."""
    return signal.sum([axis for axis in range(signal.dim()) if axis != 1])


@contextmanager
def _bfloat16_allowed() -> Iterator[None]:
    """oneDNN may use the processor's bfloat16 units, which make nothing else of operands that are rounded already.

    Torch has these switches from 2.9 on; before, it stays in float32."""
    found = (getattr(torch.backends.mkldnn, name, None) for name in ("matmul", "conv"))
    switches: list[Any] = [switch for switch in found if switch is not None]
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "bf16"
        yield
    finally:
        for switch, own in zip(switches, before, strict=True):
            switch.fp32_precision = own


def is_native() -> bool:
    """Whether this processor has bfloat16 products with float32 sums that torch uses: a product of numbers that are no
    bfloat16 tells, since no flag does."""
    x = torch.full((SIDE, SIDE), 1 + 2**-9)  # between 1 and 1 + 2**-7, and nearer to 1
    with _bfloat16_allowed():
        return bool((x @ x)[0, 0] == SIDE)


PRECISIONS: dict[str, Callable[[], AbstractContextManager[Any]]] = {"float32": nullcontext, "bf16": Bfloat16Products}


def check_precision(precision: str, rule: Rule) -> None:
    """Raises ``RunError`` for bf16 elsewhere than on the processor and in float32; says where it is only as good, and
    not as fast."""
    if precision == "float32":
        return
    like = rule.like
    if like.device.type != "cpu" or like.dtype != torch.float32:
        came = f"precision '{precision}' came for {str(like.dtype).removeprefix('torch.')} on device '{like.device}'"
        raise RunError(f"{came}, but it is for float32 on the processor: leave it out, or give --device cpu")
    if not is_native():
        what = f"precision '{precision}' is emulated, since torch has no such products on this processor"
        told = f"{what}: the numbers are the same, but slower than float32's; leave it out unless it is they you want"
        warnings.warn(told, Notice, stacklevel=3)
