"""The matrix products and convolutions of one assignment of credit, and each of them by the fastest way there is.

Both sides of a choice are timed here: MKL and oneDNN for a matrix product, the layouts of an image and both libraries
for a convolution.  Results go into memory that is there already wherever an operation can be told so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from altprop.backend import HAS_ONEDNN
from altprop.core import Rule
from altprop.measure.operations import FORMULAS
from altprop.measure.probe import undone

aten = torch.ops.aten
Ways = dict[str, Callable[[], Any]]
REPEATS = 7  # of a way, of which the best counts


class Product(NamedTuple):
    """One operation, with the very tensors that it was called with."""

    function: Any
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    @property
    def signature(self) -> tuple[Any, ...]:
        """What decides how long it takes: the operation, and shapes, layouts and other arguments."""
        leaves = tree_leaves((self.arguments, dict(self.options)))
        return (self.function, *((x.shape, x.stride(), x.dtype) if isinstance(x, Tensor) else x for x in leaves))


def products(rule: Rule, x: Tensor, y: Tensor) -> list[Product]:
    """Those of one ``credit(x, y)``, in their order; what is computed twice from the same tensors stands once.

    An operation is a product if torch counts its FLOPs by a formula (``measure.multiply_adds`` counts the same ones).
    What ``credit`` leaves is taken back."""
    recorder = _Recorder()
    with undone(rule), recorder:
        rule.credit(x, y)
    return list(recorder.products.values())


class _Recorder(TorchDispatchMode):
    """Keeps the tensors of every product alive, so that an address and a version name one content."""

    def __init__(self) -> None:
        super().__init__()
        self.products: dict[tuple[Any, ...], Product] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket in FORMULAS:
            product = Product(func, args, kwargs or {})
            leaves = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
            content = tuple((leaf.data_ptr(), leaf._version) for leaf in leaves)
            self.products.setdefault((product.signature, content), product)
        return func(*args, **(kwargs or {}))


def ways(product: Product) -> Ways:
    """The ways to compute a product, by name: "mkl" and "onednn" of a matrix product, others as they are.

    A bias or another term that a product is added to is left out: it is no product."""
    find = WAYS.get(product.function._overloadpacket)
    return find(product) if find else _as_it_came(product)


def operands(product: Product) -> tuple[Tensor, Tensor] | None:
    """x (n, k) and W^T (k, m) of a product of two matrices; None of any other."""
    place = MATRICES.get(product.function._overloadpacket)
    if place is None:
        return None
    x, weight = product.arguments[place : place + 2]
    return x.flatten(0, -2), weight if product.function.namespace == "aten" else weight.T


def timed(ways: Ways, repeats: int = REPEATS) -> dict[str, float]:
    """Seconds of each way: all have their turn in every round, and the best round of each counts."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(repeats + 1):  # the first of which warms up, and is hardly the best
        for name, way in ways.items():
            start = time.thread_time()
            way()
            best[name] = min(best[name], time.thread_time() - start)
    return best


def fastest(ways: Ways) -> str:
    """The name of the fastest way."""
    seconds = timed(ways)
    return min(seconds, key=seconds.__getitem__)


def _as_it_came(product: Product) -> Ways:
    return {"torch": lambda: product.function(*product.arguments, **product.options)}


def _matrices(product: Product) -> Ways:
    x, weight = operands(product)  # type: ignore[misc]
    out = x.new_empty(len(x), weight.shape[1])
    ways: Ways = {"mkl": lambda: torch.mm(x, weight, out=out)}
    if HAS_ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu":
        ways["onednn"] = lambda: torch.ops.mkldnn._linear_pointwise(x, weight.T, None, "none", [], "")
    return ways


def _batched(product: Product) -> Ways:
    x, weight = product.arguments[-2:]
    out = x.new_empty(x.shape[0], x.shape[1], weight.shape[2])
    return {"mkl": lambda: torch.bmm(x, weight, out=out)}


def _convolution(product: Product) -> Ways:
    """As it came, with its images in either layout, and without oneDNN."""
    ways = _as_it_came(product)
    if product.arguments[1].dim() == 4:
        for name, layout in (("channels first", torch.contiguous_format), ("channels last", torch.channels_last)):
            laid = tuple(_laid(argument, layout) for argument in product.arguments)
            ways[name] = _call(product, laid)
    return {**ways, "mkl": _without_onednn(ways["torch"])} if HAS_ONEDNN else ways


def _call(product: Product, arguments: tuple[Any, ...]) -> Callable[[], Any]:
    return lambda: product.function(*arguments, **product.options)


def _laid(argument: Any, layout: torch.memory_format) -> Any:
    images = isinstance(argument, Tensor) and argument.dim() == 4
    return argument.contiguous(memory_format=layout) if images else argument


def _without_onednn(way: Callable[[], Any]) -> Callable[[], Any]:
    def without() -> Any:
        before = torch._C._get_mkldnn_enabled()
        torch._C._set_mkldnn_enabled(False)  # torch.backends.mkldnn.flags sets more, and warns of it
        try:
            return way()
        finally:
            torch._C._set_mkldnn_enabled(before)

    return without


MATRICES = {aten.mm: 0, aten.addmm: 1, aten.addmm_: 1}  # where the first of both stands
WAYS: dict[Any, Callable[[Product], Ways]] = {
    **dict.fromkeys(MATRICES, _matrices), aten.bmm: _batched, aten.baddbmm: _batched, aten.baddbmm_: _batched,
    aten.convolution: _convolution, aten.convolution_backward: _convolution,
}  # fmt: skip
if HAS_ONEDNN:
    MATRICES[torch.ops.mkldnn._linear_pointwise] = 0
    WAYS[torch.ops.mkldnn._linear_pointwise] = _matrices
