"""What the products of a training step are made of: float32, or bfloat16 with sums in float32.

Operands are rounded to bfloat16, products are summed in float32, and the sum is rounded once more, which is what the
bfloat16 units of processors give by torch.  Weights, what is added to a product, and all that is no product stay
float32.  Where a processor lacks such units, the same roundings are made by hand, so that the numbers are the same
everywhere, but for the last bit of a sum in another order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from altprop.core import Rule
from altprop.core.product import HAS_ONEDNN
from altprop.limits import Notice
from altprop.run.recipe import RunError

aten = torch.ops.aten


class Bfloat16Products(TorchDispatchMode):
    """Inside of it the products of float32 tensors are those of bfloat16 numbers, autograd's too."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No, since nothing is compiled in here, and torch would import its compiler for that, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        product = PRODUCTS.get(func._overloadpacket)
        if product is None or any(isinstance(each, Tensor) and each.dtype != torch.float32 for each in args):
            return func(*args, **options)
        out = options.pop("out", None)
        result = product(*args, **options)
        return result if out is None else out.resize_(result.shape).copy_(result)


def _product(function: Any) -> Callable[..., Any]:
    """That operation on tensors that are rounded before and after it."""

    def of(*arguments: Any) -> Any:
        rounded = _bfloat16 if is_native() else _as_bfloat16
        results = function(*(rounded(each) if isinstance(each, Tensor) else each for each in arguments))
        after = Tensor.float if is_native() else _as_bfloat16
        return (
            after(results)
            if isinstance(results, Tensor)
            else [each if each is None else after(each) for each in results]
        )

    return of


def _bfloat16(operand: Tensor) -> Tensor:
    return operand.to(torch.bfloat16)


def _as_bfloat16(operand: Tensor) -> Tensor:
    """The nearest bfloat16 numbers, to even where two are as near, as float32."""
    return operand.to(torch.bfloat16).to(torch.float32)


def _added(product: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """beta c + alpha a b"""

    def of(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        return torch.add(c if beta == 1 else beta * c, product(a, b), alpha=alpha)

    return of


def _added_in_place(product: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """c <- beta c + alpha a b"""

    def of(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        result = product(a, b)
        return (c if beta == 1 else c.mul_(beta)).add_(result, alpha=alpha)

    return of


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, *_: Any) -> Tensor:
    """x (..., n) W^T (n, m) + b -> (..., m), as oneDNN is asked for it."""
    z = mm(x.flatten(0, -2), weight.T).unflatten(0, x.shape[:-1])
    return z if bias is None else z.add_(bias)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
    z = _product(aten.convolution)(x, weight, None, *geometry)
    return z if bias is None else z.add_(bias.view(-1, *(1,) * (z.dim() - 2)))


def _convolution_backward(signal: Tensor, x: Tensor, weight: Tensor, *rest: Any) -> tuple[Any, ...]:
    """What a bias learns by is no product: signal (N, C, *positions) -> (C,)."""
    *geometry, wanted = rest
    both = _product(aten.convolution_backward)(signal, x, weight, *geometry, [*wanted[:2], False])
    return *both[:2], signal.sum([axis for axis in range(signal.dim()) if axis != 1]) if wanted[2] else None


mm, bmm, mv = (_product(function) for function in (aten.mm, aten.bmm, aten.mv))


def _sum_of_products(a: Tensor, b: Tensor) -> Tensor:
    """(N, m, k) (N, k, n) -> (m, n)"""
    return bmm(a, b).sum(0)


#: Torch's products.  What it does in one kernel beyond these, as in fused attention and recurrences, stays float32.
PRODUCTS: dict[Any, Callable[..., Any]] = {
    aten.mm: mm, aten.bmm: bmm, aten.mv: mv, aten.dot: _product(aten.dot), aten.vdot: _product(aten.vdot),
    aten.addmm: _added(mm), aten.baddbmm: _added(bmm), aten.addmv: _added(mv), aten.addbmm: _added(_sum_of_products),
    aten.addmm_: _added_in_place(mm), aten.baddbmm_: _added_in_place(bmm), aten.addmv_: _added_in_place(mv),
    aten.addbmm_: _added_in_place(_sum_of_products),
    aten.convolution: _convolution, aten.convolution_backward: _convolution_backward,
}  # fmt: skip
if HAS_ONEDNN:
    PRODUCTS[torch.ops.mkldnn._linear_pointwise] = _linear


@cache
def is_native() -> bool:
    """Whether this processor has bfloat16 units, AVX-512's or AMX's, and torch makes use of them."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    found = [getattr(torch.cpu, name, None) for name in names]  # which not every release has
    return HAS_ONEDNN and any(ask() for ask in found if ask is not None)


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
        what = f"precision '{precision}' is emulated, since this processor has no such products"
        told = f"{what}: the numbers are the same, but slower than float32's; leave it out unless it is they you want"
        warnings.warn(told, Notice, stacklevel=3)
