"""The modules of a net in the order in which they run: those of an ``nn.Sequential``, or, of an ordinary forward, what
``torch.fx`` shows to be a chain:

    x = self.pool(F.relu(self.conv(x)))                      conv  ReLU  pool
    x = x.view(x.size(0), -1)                                Flatten
    return self.head(F.dropout(x, 0.5, self.training))       Dropout  head

A function becomes the module of its name, which has its arguments too.  Any other forward (a value used twice, a
parameter used by itself, a choice that depends on values) is refused by the first node that is no link of a chain.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.modules.lazy import LazyModuleMixin

from altprop.limits import Refused

BATCH = 1 << 40  # what len(x) says while a forward is followed, since it has to be some number
SAMPLES = ((0,), (-1,), (BATCH,))  # what a view keeps apart: x.size(0), -1, len(x)
MODULES: Any = {"contiguous": nn.Identity} | {name.lower(): kind for name, kind in vars(nn).items()}


class _InForward(nn.Module):
    """Of a dropout that is a function: it drops where the module that calls it trains, unless it was set to eval mode
    itself."""

    @property
    def training(self) -> bool:
        return bool(vars(self)["own"] and vars(self)["caller"].training)

    @training.setter
    def training(self, mode: bool) -> None:
        vars(self)["own"] = mode


class _Dropout(_InForward, nn.Dropout): ...


class _Dropout1d(_InForward, nn.Dropout1d): ...


class _Dropout2d(_InForward, nn.Dropout2d): ...


class _Dropout3d(_InForward, nn.Dropout3d): ...


DROPS: Any = {"dropout": _Dropout, "dropout1d": _Dropout1d, "dropout2d": _Dropout2d, "dropout3d": _Dropout3d}


class _Mode(int):
    """What ``module.training`` is while a forward is followed: neither True nor False, but the caller's."""

    def __bool__(self) -> bool:
        raise fx.proxy.TraceError("its mode")


class _Value(fx.Proxy):
    def __len__(self) -> int:
        return BATCH


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """A module without parameters is one link, whatever its forward does."""
        bare = next(m.parameters(), None) is None and not isinstance(m, nn.Sequential)
        return bare or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Value(node, self)


UNPLACEABLE: dict[Any, str] = {
    nn.RNNBase: "a recurrent module keeps time steps that no layer-local rule here sees; unroll it into layers",
    nn.MultiheadAttention: "it takes three inputs; wrap it in a module of one input and give that as a layer",
    nn.ModuleList | nn.ModuleDict: "it has no forward; use nn.Sequential, or give cuts=[Layer(...), ...] by hand",
    nn.AlphaDropout: "its noise cannot be replayed in a second pass; use nn.Dropout",
    nn.FeatureAlphaDropout: "its noise cannot be replayed in a second pass; use nn.Dropout2d",
    nn.RReLU: "its random slope cannot be replayed in a second pass; use nn.LeakyReLU",
    LazyModuleMixin: "its shape is not known yet; run the net once on an example first",
}


def chain(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path or name of its node, module) of all that the net does to its input, one after the other; an
    ``nn.Sequential``, and those inside it, are opened.

    Raises ``Refused``, naming path and class, where that is no chain, and for a module that no rule can place."""
    for path, module in _opened(net) if is_sequence(net) else _traced(net):
        for kind, why in UNPLACEABLE.items():
            if isinstance(module, kind):
                raise Refused(f"cannot place module '{path}' ({type(module).__name__}): {why}")
        yield path, module


def is_sequence(module: nn.Module) -> bool:
    """An nn.Sequential whose forward is that of torch."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _opened(net: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, module in net._modules.items():  # named_children() would leave out a module that stands here twice
        assert module is not None
        if is_sequence(module):
            yield from _opened(module, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", module


def _traced(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    value, sizes = None, []  # type: Any, list[fx.Node]  # of the last link; those that say how large a value is
    for node in _followed(net):
        values = [n for n in node.all_input_nodes if n not in sizes]
        if node.op == "placeholder" and not (value and node.users):
            value = value or node
        elif node.target == "size" or node.args[1:] == ("shape",) or (node.all_input_nodes and not values):
            sizes.append(node)
        elif values != [value] or node.args[:1] != (value,) or value in (*node.args[1:], *node.kwargs.values()):
            raise _refusal(net, f"{_called(node)} does not follow from '{value}' alone")
        elif node.op != "output":
            try:
                modules = _link(net, node)
            except (KeyError, TypeError) as error:
                raise _refusal(net, f"{_called(node)} is nothing that a layer is made of") from error
            yield from ((str(node.target) if node.op == "call_module" else node.name, module) for module in modules)
            value = node


def _followed(net: nn.Module) -> list[fx.Node]:
    """The nodes of the net's forward; the net is left as it was."""
    try:
        with modes_kept(net):
            for module in net.modules():
                module.training = mode = _Mode()  # type: ignore[assignment]
                vars(mode)["caller"] = module
            return list(_Tracer().trace(copy.copy(net)).nodes)  # which would keep tensors that the forward makes
    except Exception as error:  # a forward may raise anything as soon as what it meets is no tensor
        why = "branches or loops on values" if isinstance(error, fx.proxy.TraceError) else f"cannot run so ({error})"
        raise _refusal(net, f"its forward {why}") from error


def _link(net: nn.Module, node: fx.Node) -> list[nn.Module]:
    """The modules of one node, mostly one; an error where there is none."""
    arguments, name = node.args[1:], getattr(node.target, "__name__", str(node.target))
    given: Any = {"start_dim": 0} if name == "flatten" and not arguments else {}
    given |= {key: value for key, value in node.kwargs.items() if value is not None and key[0] != "_"}
    shape: Any = arguments[0] if arguments and isinstance(arguments[0], tuple | list) else arguments
    if node.op == "call_module":
        return [net.get_submodule(str(node.target))]
    if node.op == "call_function" and node.target not in (getattr(F, name, None), getattr(torch, name, None)):
        raise KeyError(name)  # a function of the user's, of that name
    if name in DROPS:
        given = {"p": 0.5, "training": True} | dict(zip(("p", "training"), arguments, strict=False)) | given
        module, mode = DROPS[name](given["p"]), given["training"]
        vars(module)["caller"] = getattr(mode, "caller", None)  # where torch does not look
        if mode is True:
            raise _refusal(net, f"{_called(node)} drops in eval mode too: give it training=self.training")
        return [module] if isinstance(mode, _Mode) else []
    if name in ("view", "reshape") and len(shape) > 1 and getattr(shape[0], "args", (0, shape[0]))[1:] in SAMPLES:
        return [nn.Flatten(), nn.Unflatten(1, shape[1:])] if len(shape) > 2 else [nn.Flatten()]
    return [MODULES[name.replace("_", "")](*arguments, **given)]


def _called(node: fx.Node) -> str:
    kind = {"get_attr": "parameter or buffer", "placeholder": "input"}.get(node.op, node.op.removeprefix("call_"))
    return f"node '{node}' ({kind} {getattr(node.target, '__name__', node.target)})"


def _refusal(net: nn.Module, why: str) -> Refused:
    advice = "give cuts=[Layer(inlet, synapse, activation), ...] by hand, or use altprop.align"
    return Refused(f"{type(net).__name__} is no chain of modules: {why[:150]}; {advice}")


@contextmanager
def modes_kept(net: nn.Module) -> Iterator[None]:
    """Whatever is set within, every module is left in the mode that it came in."""
    modes = {module: module.training for module in net.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
