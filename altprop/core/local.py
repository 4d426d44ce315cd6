"""The local arithmetic of one layer.  Row vectors, batch first:

    forward   a = inlet(x) W^T + b,  h = f(a)              -> Trace
    slope     signal_a = signal_h * f'(a)                  through the activation
    learn     W.grad += signal_a^T x,  b.grad += sum signal_a;  the first of both is returned
    pull      signal_x = signal_a W                        down to the layer's input; a feedback matrix may stand for W
    push      tangent_a = inlet'(x)[tangent_x] W^T         forward, without the bias

For Linear and ConvNd these are closed forms without an autograd graph; any other synapse keeps a graph of itself alone
in the trace and takes its vector-Jacobian product.  Call them under ``torch.no_grad()``, as every ``credit`` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from altprop.core.layer import Layer, is_convolution, is_dense
from altprop.core.product import linear, outer
from altprop.core.steps import Step, accumulate, arranged, jvp, run, run_all, vjp
from altprop.limits import Refused

Ready = Callable[[Layer], None]
PADS = {"zeros": "Zero", "reflect": "Reflection", "replicate": "Replication", "circular": "Circular"}
CONVOLUTIONS = {3: torch.conv1d, 4: torch.conv2d, 5: torch.conv3d}  # by the number of dimensions of the weight


class Trace(NamedTuple):
    """What one pass leaves behind in one layer."""

    layer: Layer
    x: Tensor  # (N, *in)   input of the synapse, prepared by the inlet; padded where the padding is not plain zeros
    a: Tensor | None  # (N, *out)  pre-activation, where ``keep=True`` asked for it
    h: Tensor  # (N, *out)  activity
    inlet: list[Step]  # the padding that a convolution cannot do by itself is its last
    synapse: Step
    activation: list[Step]


def refuse_autocast(x: Tensor) -> None:
    """Raises ``Refused`` where torch would choose another dtype for each product."""
    if torch.is_autocast_enabled(x.device.type):
        raise Refused("credit() ran under torch.autocast, but it keeps one dtype: leave autocast, or .to(dtype)")


def forward(layer: Layer, x: Tensor, like: Trace | None = None, *, reach: bool = False, keep: bool = False,
            a: Any = None) -> Trace:  # fmt: skip
    """Run one layer on x.  ``like`` replays the dropout masks of that trace; ``reach`` keeps what ``pull`` and ``push``
    need to reach through the inlet; ``keep`` keeps a; ``a`` spares the synapse's product where the caller knows it."""
    refuse_autocast(x)
    x, inlet = prepare(layer, x, like, reach)
    module: Any = layer.synapse
    if is_dense(module):
        synapse, fresh = Step(module, None), a is None and not keep
        a = drive(module, x, module.weight, module.bias) if a is None else a
    else:
        (a, synapse), fresh = run(module, x), False
    h, activation = run_all(layer.activation, a, like.activation if like else None, fresh=fresh)
    return Trace(layer, x, a if keep else None, h, inlet, synapse, activation)


def prepare(layer: Layer, x: Tensor, like: Trace | None = None, reach: bool = False) -> tuple[Tensor, list[Step]]:
    """x as the product takes it: through the inlet, and padded where a convolution cannot do so by itself."""
    x, steps = run_all(layer.inlet, x, like.inlet if like else None, graph=reach)
    module: Any = layer.synapse
    if not (is_dense(module) and is_convolution(module)):
        return x, steps
    if not pads_itself(module):
        pad = getattr(nn, f"{PADS[module.padding_mode]}Pad{module.weight.dim() - 2}d")
        x, step = run(pad(module._reversed_padding_repeated_twice), x, graph=reach)
        steps.append(step)
    return arranged(x), steps


def slope(trace: Trace, signal_h: Tensor) -> Tensor:
    """(N, *out) -> (N, *out): through the activation's derivative; fills the ``.grad`` of norms that stand in it."""
    for step in reversed(trace.activation):
        signal_h = vjp(step, signal_h)
    return signal_h


def learn(trace: Trace, signal_a: Tensor, ready: Ready | None = None) -> Tensor | None:
    """Add presynaptic activity x postsynaptic signal to the synapse's ``.grad``, then tell ``ready`` of the layer.

    Returns what the weight's was raised by, which may be that ``.grad`` itself; None where there is no such weight, or
    where it is frozen."""
    module: Any = trace.layer.synapse
    increment = None
    if not is_dense(module):
        _learn_graph(trace.synapse, signal_a)
    else:
        if module.weight.requires_grad:
            accumulate(module.weight, increment := correlate(module, trace.x, signal_a))
        if module.bias is not None and module.bias.requires_grad:
            unit = 1 if is_convolution(module) else signal_a.dim() - 1
            accumulate(module.bias, signal_a.sum([axis for axis in range(signal_a.dim()) if axis != unit]))
    if ready is not None:
        ready(trace.layer)
    return increment


def correlate(module: Any, x: Tensor, signal_a: Tensor) -> Tensor:
    """sum of signal_a (x) x over samples, and over the positions that share a weight, in the weight's shape."""
    if is_convolution(module):
        return _convolution_backward(module, signal_a, x, module.weight, (False, True, False))[1].contiguous()
    return outer(signal_a.reshape(-1, signal_a.shape[-1]), x.reshape(-1, x.shape[-1]))


def pull(trace: Trace, signal_a: Tensor, weight: Tensor | None = None) -> Tensor:
    """(N, *out) -> (N, *x): the signal at the layer's input, through ``weight`` in the synapse's place, and the inlet.

    The trace must have been made with ``reach=True``.  Without ``weight`` it is weight transport."""
    module: Any = trace.layer.synapse
    if not is_dense(module):
        if weight is not None:
            raise Refused(f"{trace.layer} has no weight matrix for a feedback matrix to stand for")
        (signal,) = torch.autograd.grad(trace.synapse.saved[1], trace.synapse.saved[0], signal_a, retain_graph=True)
    else:
        weight = module.weight if weight is None else weight
        if is_convolution(module):
            signal = _convolution_backward(module, signal_a, trace.x, weight, (True, False, False))[0]
        else:
            signal = linear(signal_a, weight.T)
    for step in reversed(trace.inlet):
        signal = vjp(step, signal)
    return signal


def push(trace: Trace, tangent_x: Tensor) -> Tensor:
    """(N, *x) -> (N, *out): the forward derivative of a along a change of the layer's input (``reach=True``)."""
    for step in trace.inlet:
        tangent_x = jvp(step, tangent_x)
    module: Any = trace.layer.synapse
    if not is_dense(module):
        return jvp(trace.synapse, tangent_x)
    return drive(module, tangent_x, module.weight)


def drive(module: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(N, *x) -> (N, *out): what a Linear or a convolution with that weight in its place makes of a trace's x."""
    if not is_convolution(module):
        return linear(x, weight, bias)
    convolution = CONVOLUTIONS[weight.dim()]
    return convolution(arranged(x), weight, bias, module.stride, _zeros(module), module.dilation, module.groups)


def pads_itself(module: Any) -> bool:
    """Whether a convolution adds its zeros within the product; else a trace holds x padded."""
    left_right = module._reversed_padding_repeated_twice
    return bool(module.padding_mode == "zeros" and left_right[::2] == left_right[1::2])


def _zeros(module: Any) -> list[int]:
    """The zeros a convolution adds on either side by itself; what ``_pad`` has added already it does not add again."""
    left_right = module._reversed_padding_repeated_twice
    return left_right[::-2] if pads_itself(module) else [0] * (len(left_right) // 2)


def _convolution_backward(module: Any, signal: Tensor, x: Tensor, weight: Tensor,
                          mask: tuple[bool, bool, bool]) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(at the input, at the weight, at the bias), those that ``mask`` asks for."""
    geometry = (module.stride, _zeros(module), module.dilation, module.transposed, module.output_padding, module.groups)
    return torch.ops.aten.convolution_backward(signal, x, weight, [weight.shape[0]], *geometry, mask)


def _learn_graph(step: Step, signal: Tensor) -> None:
    y, parameters = step.saved[1], [p for p in step.module.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(y, parameters, signal, retain_graph=True, allow_unused=True) if parameters else []
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            accumulate(parameter, gradient)
