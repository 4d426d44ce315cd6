"""The closed forms: how one module of an inlet or activation runs, and what a signal becomes on its way back.

Each entry of ``POINTWISE`` stands as (forward, backward, whether backward reads the result h or the input a).  A module
that is not listed runs as a graph of its own, cut off from every other, and is asked for its vector-Jacobian product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from altprop.chain import DROPS
from altprop.core.layer import parts

aten = torch.ops.aten
Pointwise = tuple[Callable[[Any, Tensor], Tensor], Callable[[Any, Tensor, Tensor], Tensor], bool]
RESULT, INPUT = True, False  # where backward reads the result, forward may overwrite the input

# fmt: off
POINTWISE: dict[type[nn.Module], Pointwise] = {  # m: module, s: signal at h, then the result h or the input a
    nn.Identity: (lambda m, a: a, lambda m, s, h: s, RESULT),
    nn.ReLU: (lambda m, a: a.relu_(), lambda m, s, h: aten.threshold_backward(s, h, 0), RESULT),
    nn.ReLU6: (lambda m, a: F.relu6(a), lambda m, s, a: aten.hardtanh_backward(s, a, 0, 6), INPUT),
    nn.LeakyReLU: (lambda m, a: F.leaky_relu(a, m.negative_slope),
                   lambda m, s, a: aten.leaky_relu_backward(s, a, m.negative_slope, False), INPUT),
    nn.Tanh: (lambda m, a: a.tanh_(), lambda m, s, h: aten.tanh_backward(s, h), RESULT),
    nn.Sigmoid: (lambda m, a: a.sigmoid_(), lambda m, s, h: aten.sigmoid_backward(s, h), RESULT),
    nn.LogSigmoid: (lambda m, a: F.logsigmoid(a), lambda m, s, a: s * (-a).sigmoid(), INPUT),
    nn.Softplus: (lambda m, a: F.softplus(a, m.beta, m.threshold),
                  lambda m, s, a: aten.softplus_backward(s, a, m.beta, m.threshold), INPUT),
    nn.Softsign: (lambda m, a: F.softsign(a), lambda m, s, a: s / (1 + a.abs()).square(), INPUT),
    nn.ELU: (lambda m, a: F.elu(a, m.alpha), lambda m, s, a: aten.elu_backward(s, m.alpha, 1, 1, False, a), INPUT),
    nn.CELU: (lambda m, a: F.celu(a, m.alpha),
              lambda m, s, a: aten.elu_backward(s, m.alpha, 1, 1 / m.alpha, False, a), INPUT),
    nn.SELU: (lambda m, a: F.selu(a),
              lambda m, s, a: aten.elu_backward(s, 1.6732632423543772, 1.0507009873554805, 1, False, a), INPUT),
    nn.GELU: (lambda m, a: F.gelu(a, approximate=m.approximate),
              lambda m, s, a: aten.gelu_backward(s, a, approximate=m.approximate), INPUT),
    nn.SiLU: (lambda m, a: F.silu(a), lambda m, s, a: aten.silu_backward(s, a), INPUT),
    nn.Mish: (lambda m, a: F.mish(a), lambda m, s, a: aten.mish_backward(s, a), INPUT),
    nn.Hardtanh: (lambda m, a: F.hardtanh(a, m.min_val, m.max_val),
                  lambda m, s, a: aten.hardtanh_backward(s, a, m.min_val, m.max_val), INPUT),
    nn.Hardsigmoid: (lambda m, a: F.hardsigmoid(a), lambda m, s, a: aten.hardsigmoid_backward(s, a), INPUT),
    nn.Hardswish: (lambda m, a: F.hardswish(a), lambda m, s, a: aten.hardswish_backward(s, a), INPUT),
    nn.Tanhshrink: (lambda m, a: a - a.tanh(), lambda m, s, a: s * a.tanh().square(), INPUT),
    nn.Hardshrink: (lambda m, a: F.hardshrink(a, m.lambd),
                    lambda m, s, a: aten.hardshrink_backward(s, a, m.lambd), INPUT),
    nn.Softshrink: (lambda m, a: F.softshrink(a, m.lambd),
                    lambda m, s, a: aten.softshrink_backward(s, a, m.lambd), INPUT),
    nn.Threshold: (lambda m, a: F.threshold(a, m.threshold, m.value),
                   lambda m, s, a: aten.threshold_backward(s, a, m.threshold), INPUT),
}
# fmt: on

# Whether whole channels fall out.
DROPOUTS: dict[type[nn.Module], bool] = {nn.Dropout: False, nn.Dropout1d: True, nn.Dropout2d: True, nn.Dropout3d: True}
DROPOUTS |= {function: name != "dropout" for name, function in DROPS.items()}


def kind_of(module: nn.Module) -> type[nn.Module]:
    """Its type, for the tables; a module with hooks runs as its own graph, since only a call runs them."""
    return nn.Module if module._forward_hooks or module._forward_pre_hooks else type(module)


def bends(module: nn.Module) -> bool:
    """Whether it is a pointwise nonlinearity."""
    return type(module) in POINTWISE and not isinstance(module, nn.Identity)


class Step(NamedTuple):
    """One module's run.  ``saved`` is the tensor its closed form needs, or the two ends (x, y) of its own graph."""

    module: nn.Module
    saved: Any


def run(module: nn.Module, x: Tensor, like: Step | None = None, graph: bool = True,
        fresh: bool = False) -> tuple[Tensor, Step]:  # fmt: skip
    """One module forward.  ``like`` replays that step's dropout mask; ``graph=False``: no signal will pass it;
    ``fresh``: nobody else needs x, which may be overwritten."""
    kind = kind_of(module)
    if kind in POINTWISE:
        function, _, of_result = POINTWISE[kind]
        y = function(module, x if fresh or not of_result else x.clone())
        return y, Step(module, y if of_result else x)
    if kind in DROPOUTS:
        mask = like.saved if like else _mask(module, x)
        return x if mask is None else x * mask, Step(module, mask)
    if kind is nn.Flatten:
        return module(x), Step(module, x.shape)
    return _run_graph(module, x) if graph else (module(x), Step(module, None))


def vjp(step: Step, signal: Tensor) -> Tensor:
    """The signal at the module's input; adds to the ``.grad`` of the module's own parameters, if it has any."""
    module, saved = step
    kind = kind_of(module)
    if kind in POINTWISE:
        return POINTWISE[kind][1](module, signal, saved)
    if kind in DROPOUTS:
        return signal if saved is None else signal * saved
    if kind is nn.Flatten:
        return arranged(signal.reshape(saved))
    x, y = saved
    parameters = [p for p in module.parameters() if p.requires_grad]
    at_input, *at_parameters = torch.autograd.grad(y, [x, *parameters], signal, retain_graph=True)
    for parameter, gradient in zip(parameters, at_parameters, strict=True):
        accumulate(parameter, gradient)
    return at_input


def jvp(step: Step, tangent: Tensor) -> Tensor:
    """The tangent at the module's output: the transpose of its vector-Jacobian product."""
    module, saved = step
    kind = kind_of(module)
    if kind in POINTWISE or kind in DROPOUTS:  # a diagonal Jacobian is its own transpose
        return vjp(step, tangent)
    if kind is nn.Flatten:
        return module(tangent)
    x, y = saved
    with torch.enable_grad():
        cotangent = torch.zeros_like(y, requires_grad=True)
        (at_input,) = torch.autograd.grad(y, x, cotangent, create_graph=True)
        (at_output,) = torch.autograd.grad(at_input, cotangent, tangent)
    return at_output


def run_all(modules: nn.Module, x: Tensor, like: list[Step] | None = None, graph: bool = True,
            fresh: bool = False) -> tuple[Tensor, list[Step]]:  # fmt: skip
    """The modules of an inlet or an activation, one after the other."""
    steps: list[Step] = []
    for index, module in enumerate(parts(modules)):
        x, step = run(module, x, like[index] if like else None, graph, fresh and index == 0)
        steps.append(step)
    return x, steps


def arranged(x: Tensor) -> Tensor:
    """x with the channels of an image side by side, as convolutions are fastest; a mixture is slower than either."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def accumulate(parameter: Tensor, gradient: Tensor) -> None:
    """``parameter.grad += gradient``, as ``loss.backward()`` would."""
    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


def _mask(module: Any, x: Tensor) -> Tensor | None:
    """Inverted dropout, 0 or 1 / (1 - p), drawn as torch draws it; None where nothing falls out."""
    if not module.training or module.p == 0:
        return None
    shared = min(2, x.dim() - 1) if DROPOUTS[type(module)] else x.dim()  # torch takes the rows of (N, C) for channels
    shape = (*x.shape[:shared], *(1 for _ in x.shape[shared:]))
    keep = 1 - module.p
    mask = x.new_empty(shape).bernoulli_(keep)
    return mask.div_(keep) if keep else mask


def _run_graph(module: nn.Module, x: Tensor) -> tuple[Tensor, Step]:
    """The graph of this one module: its input is a leaf, so nothing below can be reached."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(x.is_floating_point())
        y = module(x)
    return y.detach(), Step(module, (x, y))
