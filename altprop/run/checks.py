"""What is looked at before and after a run, so that no number comes out in silence that means something else."""

from __future__ import annotations

import warnings
from math import prod

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from altprop.core import Refused, Rule, RuleWarning
from altprop.core.layer import is_convolution
from altprop.data import Dataset, as_input
from altprop.measure import silent, winners
from altprop.rules import RULES
from altprop.run.inputs import augmentation
from altprop.run.optimizers import find_schedule
from altprop.run.readout import SOLVED, Readout
from altprop.run.recipe import Recipe, RunError

FEWEST, MOST = 1000, 10000  # training samples that units are shown
EACH = 8  # samples for each unit, since of fewer many a unit gets none by chance


def check_domain(rule: str, data: Dataset) -> None:
    """Warns where a rule cuts off what training samples have beyond its domain."""
    domain = RULES[rule].domain
    if domain is None:
        return
    lowest, highest = (as_input(end.reshape(1)).item() for end in data.x_train.aminmax())
    if lowest < domain[0] or highest > domain[1]:
        what = f"inputs from {lowest:g} to {highest:g} came, but rule '{rule}' takes {domain[0]:g} to {domain[1]:g}"
        told = f"{what} and cuts off the rest: rescale them, by --scale unit and without --whiten"
        warnings.warn(told, RuleWarning, stacklevel=3)


def check_units(rule: Rule, x: Tensor) -> dict[str, dict[str, int]]:
    """What to write down of hidden layers that learned without labels from x (N, *in): layer name -> units that never
    win; empty where none compete.  Warns, a line a layer, where most units never win or answer all samples alike."""
    untaught = {module for phase in rule.phases() if not phase.labels for module in phase.moves}
    layers = [layer for layer in rule.layers if layer.synapse in untaught]
    if not layers:
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


def check_fit(recipe: Recipe, rule: Rule, data: Dataset) -> None:
    """Raises ``RunError`` for what would only show when the run is under way, or has ended."""
    if rule.classes != data.outputs:
        raise RunError(f"the net has {rule.classes} outputs, but the data has {data.outputs}: end it in {data.outputs}")
    check_readout(recipe, rule, data)


def check_readout(recipe: Recipe, rule: Rule, data: Dataset) -> None:
    """What would only show when the layers below have learned."""
    last, by = rule.layers[-1], recipe.readout.by
    if recipe.readout == Readout() and not recipe.arguments.get("supervised"):
        return
    if by in SOLVED and not (type(last.synapse) is nn.Linear and last.synapse.bias is not None and data.classes):
        what = f"{last} and {'labels' if data.classes else 'targets that are no classes'}"
        raise RunError(f"readout by '{by}' came for {what}: it is for classes, into a Linear with a bias")
    if (by == "hebbian" or recipe.arguments.get("supervised")) and not data.classes:
        raise RunError("a Hebbian readout came for targets that are no classes: leave out by = 'hebbian' or supervised")
    if not recipe.readout.after:
        return
    if len(rule.layers) < 2:
        raise RunError(f"a readout after the layers below came, but {last} is all there is: put one below, or use bp")
    if by not in SOLVED:
        find_schedule(recipe.readout.schedule, recipe.readout.epochs or 1)
        augmentation(recipe.with_(augment=recipe.readout.augment), data)
    if recipe.readout.augment is None and type(last.synapse) is not nn.Linear:
        raise RunError(f"{last} cannot read out features that were computed once: end the net in a Linear")
    if rule.claims.labels:
        return
    below = rule.layers[:-1]
    learning = [layer.synapse.get_parameter("weight").requires_grad for layer in below]
    top = max((index for index, learns in enumerate(learning) if learns), default=-1)
    passed = [*(below[top].activation.modules() if top >= 0 else ()), *last.inlet.modules()]
    idle = [part for layer in below[top + 1 :] for part in (layer.inlet, layer.activation)]
    passed += [module for part in idle for module in part.modules()]
    for module in passed:
        if isinstance(module, _NormBase):
            what = f"{type(module).__name__} stands above all layers that learn, so that no phase moves its statistics"
            raise RunError(f"{what}: take it out of the net, freeze less, or let the readout learn beside the layers")
