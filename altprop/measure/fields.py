"""What a unit responds to: its weights as an image in the first layer, an optimised input in deeper ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Refused, Rule, layers
from altprop.core.layer import Layer, is_convolution, is_flat_linear
from altprop.measure.probe import followed, position, undisturbed

STEP = 0.2  # of the radius: the angle to a fixed direction shrinks by 1.2 a step


def receptive_fields(
    rule: Rule, layer: int | str = 0, count: int = 25, *, steps: int = 100, radius: float = 1.0, seed: int = 0
) -> Tensor:
    """The fields of the first ``count`` units of a layer, fewer where it has fewer.

    First layer: its weights, one row of a Linear in the shape of the input, (count, *in), or one kernel of a
    convolution, (count, C, *kernel).  Any other, and a transposed convolution: the input (count, *in) of norm at most
    ``radius`` on which the unit's activity, averaged over positions, is largest, by projected gradient ascent of
    ``steps`` steps from noise drawn by ``seed``; a unit that is silent there climbs by its pre-activation.
    ``.grad``, modes and random state are left as they were.  Raises ``Refused`` for a layer that is not there, a count,
    steps or radius that is not positive, an input of integers, and a layer that no gradient leaves."""
    if min(count, steps, radius) <= 0:
        raise Refused(f"count {count}, steps {steps} and radius {radius} came; all of them must be positive")
    index = position(rule.layers, layer)
    cut = rule.layers[index]
    flat = is_flat_linear(cut, rule.shapes[index].a)
    if index == 0 and has_pictures(cut, rule.shapes[index].a):
        weight: Tensor = cut.synapse.get_parameter("weight").detach()[:count].clone()
        return weight.view(-1, *rule.shapes[0].x) if flat else weight
    if rule.integer_input:
        raise Refused("gradient ascent changes the input a little at a time, but integers came: take layer 0 instead")
    units = min(count, _units_first(cut, torch.empty(1, *rule.shapes[index].a)).shape[1])
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(units, *rule.shapes[0].x, generator=generator, dtype=rule.like.dtype).to(rule.like.device)
    x = _scaled(x, 0.1 * radius)  # weak, so that what remains of the noise is nothing beside the field
    with undisturbed(rule):
        twin = followed(rule)
        exact = rule.layers if twin is rule else layers(twin)
        for _ in range(steps):
            x = x + STEP * radius * _scaled(_uphill(exact[: index + 1], x), 1.0)
            x = x * (radius / _norms(x)).clamp(max=1.0)
    return x


def has_pictures(layer: Layer, a: torch.Size) -> bool:
    """Whether a row of the weight is what its unit looks for: in the whole input, or in a patch of it."""
    synapse: Any = layer.synapse
    return is_flat_linear(layer, a) or (is_convolution(synapse) and not synapse.transposed)


def _uphill(layers: list[Layer], x: Tensor) -> Tensor:
    """(units, *in): the gradient of unit i's activity at sample i."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        h = x.clone()
        for layer in layers[:-1]:
            h = layer(h)
        top = layers[-1]
        a = top.respond(top.inlet(h))
        activity, drive = _of_unit(top, top.activation(a.clone())), _of_unit(top, a)
        slope, spare = (_gradient(objective, x) for objective in (activity, drive))
    if slope is None or spare is None:
        raise Refused(f"no gradient comes from {top} to the input, so that nothing can climb it: take layer 0")
    return torch.where(_norms(slope) > 0, slope, spare)


def _gradient(objective: Tensor, x: Tensor) -> Tensor | None:
    if not objective.requires_grad:
        return None
    return torch.autograd.grad(objective, x, retain_graph=True, allow_unused=True)[0]


def _of_unit(layer: Layer, h: Tensor) -> Tensor:
    """Scalar: the activity of unit i in sample i, averaged over positions, summed over samples."""
    h = _units_first(layer, h).flatten(2) if h.dim() > 2 else h.unsqueeze(2)  # (units, out, positions)
    return h.mean(2).diagonal().sum()


def _units_first(layer: Layer, h: Tensor) -> Tensor:
    """(N, units, *positions): a Linear has its units last, everything else has them as channels."""
    return h.movedim(-1, 1) if isinstance(layer.synapse, nn.Linear) else h


def _norms(x: Tensor) -> Tensor:
    """(N, 1, ...): the norm of each sample."""
    return x.flatten(1).norm(dim=1).view(-1, *(1 for _ in x.shape[1:]))


def _scaled(x: Tensor, norm: float) -> Tensor:
    return x * (norm / _norms(x).clamp(min=torch.finfo(x.dtype).tiny))
