"""What is looked at before and after a run, so that no number comes out in silence that means something else."""

from __future__ import annotations

import warnings
from math import prod

from torch import Tensor

from altprop.core import Refused, Rule, RuleWarning
from altprop.core.layer import is_convolution
from altprop.data import Dataset, as_input
from altprop.measure import silent, winners
from altprop.rules import RULES
from altprop.run.recipe import RunError

FEWEST, MOST = 1000, 10000  # training samples that units are shown
EACH = 8  # samples for each unit, since of fewer many a unit gets none by chance


def check_domain(rule: str, data: Dataset) -> None:
    """Raises ``RunError`` where a rule would cut off what training samples have beyond its domain."""
    domain = RULES[rule].domain
    if domain is None:
        return
    lowest, highest = (as_input(end.reshape(1)).item() for end in data.x_train.aminmax())
    if lowest < domain[0] or highest > domain[1]:
        what = f"inputs from {lowest:g} to {highest:g} came, but rule '{rule}' takes {domain[0]:g} to {domain[1]:g}"
        raise RunError(f"{what} and would cut off the rest: rescale them, by --scale unit and without --whiten")


def check_units(rule: Rule, x: Tensor) -> dict[str, dict[str, int]]:
    """What to write down of hidden layers that learned without labels from x (N, *in): layer name -> units that never
    win; empty where none compete.  Warns, a line a layer, where most units never win or answer all samples alike."""
    layers = rule.layers[: len(rule.layers) - bool(getattr(rule, "readout", False))]
    if rule.claims.labels or not layers:
        return {}
    units = {layer.name: len(layer.synapse.get_parameter("weight")) for layer in layers}
    flat = max((units[layer.name] for layer in layers if not is_convolution(layer.synapse)), default=0)
    x = as_input(x[: min(MOST, max(FEWEST, EACH * flat))], rule.like.dtype).to(rule.like.device)
    try:
        mute = silent(rule, x)
        dead = {name: won.dead for name, won in winners(rule, x).items() if name in units} if rule.competes else {}
    except Refused:  # a measure never ends a run
        return {}
    for layer, shapes in zip(layers, rule.shapes, strict=False):
        name, among = layer.name, units[layer.name]
        enough = min(among, len(x) * prod(shapes.a) // among // EACH)  # units that could win if all did alike
        if mute[name] > among / 2:
            _tell(f"{mute[name]} of {among} units of layer '{name}' answer all samples alike")
        elif name in dead and among - dead[name] < enough / 2:
            _tell(f"{dead[name]} of {among} units of layer '{name}' never win")
    return {"never_win": dead} if dead else {}


def _tell(what: str) -> None:
    needs = "a norm before each layer ('centre' in the spec), longer weights from the start (init 'radius25')"
    warnings.warn(f"the run has collapsed: {what}; give the net {needs}, or a lower --lr", RuleWarning, stacklevel=3)
