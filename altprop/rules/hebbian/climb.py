"""What the rules without a teaching signal share: layer by layer upward, each layer learns from its own input and
output alone, and the last one reads them out by the delta rule.

    u_l = h_{l-1} W_l^T,  a_l = u_l + b_l,  h_l = f_l(a_l)                                       (N, *out_l)
    W_l.grad += -Delta W_l,  l < L            Delta W_l is the rule's direction of growth         (*W_l)
    W_L.grad += (e / N)^T h_{L-1},  b_L.grad += sum e / N                             e = y_hat - t

Hidden biases and norms get no gradient.  A layer whose weight does not require one is only passed, and nothing above
the highest that does is computed: freezing is how layers are trained one after another.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from altprop.core import Layer, Phase, Ready, Refused, Trace, accumulate, ascend, correlate, descend, drive, forward
from altprop.core.layer import is_convolution, is_dense
from altprop.core.local import pads_itself, refuse_autocast
from altprop.core.phase import modules_of
from altprop.core.product import linear, outer
from altprop.core.steps import Step, run_all

Gradient = Callable[[int, Trace], Tensor]  # (index of the layer, its trace with a) -> -Delta W
ReadOut = Callable[[Any, Tensor, Tensor, Ready | None], Tensor]  # (rule, h_{L-1}, y, ready) -> loss


def equip(rule: Any, readout: bool, of_activity: bool = False) -> None:
    """Whether the last layer reads out, and a check that every other is a Linear or a convolution, which for a gradient
    ``of_activity`` has an activity for each of its units and positions."""
    rule.readout = readout
    for layer, shapes in zip(hidden(rule), rule.shapes, strict=False):
        if not is_dense(layer.synapse):
            what = f"{type(rule).__name__} has no rule for the weights of {layer}"
            raise Refused(f"{what}: use Linear or convolutions below the last layer, or a rule such as 'dfa'")
        if of_activity and shapes.h.numel() != shapes.a.numel():
            what = f"{layer} pools its own activity, of shape {tuple(shapes.a)}, to {tuple(shapes.h)}"
            raise Refused(f"{what}: let the next layer's inlet pool; without a readout end the net in nn.Flatten alone")


def hidden(rule: Any) -> list[Layer]:
    """The layers that learn without labels."""
    return rule.layers[: len(rule.layers) - rule.readout]


def one_by_one(rule: Any) -> list[Phase]:
    """A phase for each layer, the readout last: beside each other, unless a recipe parts them.

    A norm behind the layer below stands before the one that learns, and moves with it; so does a frozen layer's."""
    phases: list[Phase] = []
    learned: list[Layer] = []
    moves: list[nn.Module] = []  # of layers that are frozen for good
    for number, layer in enumerate(hidden(rule), 1):
        behind = [below.activation for below in learned[-1:]]
        own = (*moves, *behind, *modules_of(layer))
        phases.append(Phase(f"layer {number}", own, rule.credit, labels=False, beside=number > 1))
        frozen = not layer.synapse.get_parameter("weight").requires_grad
        moves += modules_of(layer) if frozen else ()
        learned += [] if frozen else [layer]
    readout = [Phase("readout", modules_of(rule.layers[-1]), rule.credit, beside=True)] if rule.readout else []
    return [*phases, *readout]


def climb(
    rule: Any, gradient: Gradient, x: Tensor, y: Tensor | None, ready: Ready | None, *,
    of_activity: bool = False, respond: Gradient | None = None, read_out: ReadOut | None = None,
) -> Tensor:  # fmt: skip
    """Every layer that learns, from x (N, *in) up; returns the loss of the readout, 0 where nothing is read out.

    of_activity: the gradient finds h in its trace, where otherwise a stands twice.  respond: from what a gradient gets
    it makes a, in place of W x + b.  read_out: what teaches the last layer, in place of the delta rule."""
    layers = hidden(rule)
    reads = rule.readout and y is not None and any(p.requires_grad for p in rule.layers[-1].parameters())
    learning = [index for index, layer in enumerate(layers) if layer.synapse.get_parameter("weight").requires_grad]
    top = len(layers) if reads else max(learning, default=-1) + 1
    for index, layer in enumerate(layers[:top]):
        trace = present(layer, x)
        if respond is not None:
            trace = trace._replace(a=respond(index, trace))
        if of_activity:
            trace = trace._replace(h=_activity(layer, trace.a))
        if index in learning:
            accumulate(layer.synapse.get_parameter("weight"), gradient(index, trace))
            if ready is not None:
                ready(layer)
        if index + 1 < top or reads:
            x = trace.h if of_activity else layer.activation(trace.a)
    return (read_out or delta_rule)(rule, x, y, ready) if reads and y is not None else x.new_zeros(())


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


def _activity(layer: Layer, a: Any) -> Tensor:
    """h in the shape of a, (N, *out), though the last layer's may be flattened."""
    return layer.activation(a).reshape(a.shape)


def _plain(layer: Layer, x: Tensor) -> Trace:
    return forward(Layer(layer.inlet, layer.synapse, nn.Sequential(), layer.name), x, keep=True)._replace(layer=layer)


def delta_rule(rule: Any, x: Tensor, y: Tensor, ready: Ready | None) -> Tensor:
    """The last layer's gradients from h_{L-1} and the labels; returns the loss."""
    traces = ascend(rule.layers[-1:], x, reach=1)
    output = traces[-1].h  # of as many samples as y has: x of a spiking layer has a row a time step
    loss, e = rule.output_error(output, rule.targets(y, len(output)))
    descend(traces, e / len(e), ready)
    return loss
