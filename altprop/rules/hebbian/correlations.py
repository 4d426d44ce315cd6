"""What the Hebbian rules multiply: pre- and postsynaptic activity of one layer, for Linear and convolutions alike.

The units of a convolution are its channels and each of its positions is a sample of its own, a patch.
"""

from __future__ import annotations

import copy
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from altprop.core import Layer, Trace, correlate, drive, forward
from altprop.core.layer import is_convolution
from altprop.core.local import pads_itself, refuse_autocast
from altprop.core.product import linear, outer
from altprop.core.steps import Step, run_all


def weight_of(trace: Trace) -> Tensor:
    """W of the trace's layer."""
    return trace.layer.synapse.get_parameter("weight")


def rows(trace: Trace, a: Any) -> Tensor:
    """(N, *out) -> (N, *positions, units), a view: the units of a convolution are its channels."""
    return a.movedim(1, -1) if is_convolution(trace.layer.synapse) else a


def unbiased(trace: Trace) -> Tensor:
    """u = a - b (N, *positions, units)."""
    a, bias = rows(trace, trace.a), trace.layer.synapse.bias
    return a if bias is None else a - bias  # type: ignore[operator]


def correlated(trace: Trace, y: Tensor) -> Tensor:
    """sum over samples and positions of y (N, *positions, units) (x) x, in the weight's shape."""
    if not is_convolution(trace.layer.synapse):
        return correlate(trace.layer.synapse, trace.x, y)
    if trace.x.dim() == 2:  # patches
        return outer(y.reshape(-1, y.shape[-1]), trace.x).view_as(weight_of(trace))
    return correlate(trace.layer.synapse, trace.x, y.movedim(-1, 1))


def driven(trace: Trace, weight: Tensor) -> Tensor:
    """u (N, *positions, units), without the bias, as it were with ``weight`` in the weight's place."""
    if is_convolution(trace.layer.synapse) and trace.x.dim() == 2:  # patches
        return linear(trace.x, weight.flatten(1)).view(rows(trace, trace.a).shape)
    return rows(trace, drive(trace.layer.synapse, trace.x, weight))


def centred(trace: Trace) -> tuple[Trace, Tensor]:
    """(The trace on x - c, W - c): differences x - w are the same, but do not cancel where inputs and weights lie far
    from zero.  c, the mean weight, is one number an input, or a channel of a convolution, whose padding is shifted too,
    and so written out."""
    layer, module, x = trace.layer, trace.layer.synapse, trace.x  # type: Layer, Any, Tensor
    if not is_convolution(module):
        c = module.weight.mean(0)
        return trace._replace(x=x - c), module.weight - c
    W = module.weight.unflatten(0, (module.groups, -1))  # (groups, units, in, *kernel)
    c = W.flatten(3).mean((1, 3))  # (groups, in)
    shifted = (W - c.view(len(c), 1, -1, *(1 for _ in W.shape[3:]))).flatten(0, 1)
    if x.dim() == 2:  # patches
        return trace._replace(x=x - c.flatten().repeat_interleave(W[0, 0, 0].numel())), shifted
    if pads_itself(module):
        x = F.pad(x, module._reversed_padding_repeated_twice)
        module = copy.copy(module)
        module._reversed_padding_repeated_twice = [0 for _ in module._reversed_padding_repeated_twice]
    x = x - c.view(-1, *(1 for _ in x.shape[2:]))
    return trace._replace(x=x, layer=Layer(layer.inlet, module, layer.activation, layer.name)), shifted


def along(column: Tensor, W: Tensor) -> Tensor:
    """(units,) shaped so that it multiplies the rows of W."""
    return column.view(-1, *(1 for _ in W.shape[1:]))


def largest_entry(dW: Tensor) -> Tensor:
    """max |dW|, and not 0."""
    low, high = dW.aminmax()
    return high.maximum(-low).clamp_(min=max(1e-30, torch.finfo(dW.dtype).tiny))


def present(layer: Layer, x: Tensor) -> Trace:
    """The layer's trace with a.  A convolution with more weights than its patches have pixels would spend its time in
    packing them anew at every call; one product with the patches takes half as long."""
    module: Any = layer.synapse
    if type(module) is not nn.Conv2d or module.groups > 1 or module.dilation != (1, 1):
        return _plain(layer, x)
    refuse_autocast(x)
    x, _ = run_all(layer.inlet, x, graph=False)
    (kh, kw), (sh, sw), pad = module.kernel_size, module.stride, module._reversed_padding_repeated_twice
    size = [(x.shape[2] + sum(pad[2:]) - kh) // sh + 1, (x.shape[3] + sum(pad[:2]) - kw) // sw + 1]
    packed = module.weight.numel() < len(x) * prod(size) * module.weight[0].numel()
    if packed and module.padding_mode == "zeros":
        return _plain(Layer(nn.Sequential(), module, layer.activation, layer.name), x)._replace(layer=layer)
    padded = F.pad(x, pad, "constant" if module.padding_mode == "zeros" else module.padding_mode)
    if packed:
        padded = padded.contiguous(memory_format=torch.channels_last)
        a = drive(module, padded, module.weight, module.bias)
        return Trace(layer, padded, a, a, [], Step(module, None), [])
    patches = padded.movedim(1, -1).unfold(1, kh, sh).unfold(2, kw, sw).reshape(len(x) * prod(size), -1)
    a = linear(patches, module.weight.flatten(1), module.bias).view(len(x), *size, -1).movedim(-1, 1)
    return Trace(layer, patches, a, a, [], Step(module, None), [])  # patches (M, in kh kw)


def _plain(layer: Layer, x: Tensor) -> Trace:
    return forward(Layer(layer.inlet, layer.synapse, nn.Sequential(), layer.name), x, keep=True)._replace(layer=layer)
