"""From a recipe to something that learns: data, net, rule and the turns of the run, all from one seed."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Layer, Refused, Rule, layers
from altprop.core.layer import is_dense
from altprop.data import DATASETS, Dataset, as_input
from altprop.graph import KINDS as ALIGNMENTS
from altprop.graph import Aligned
from altprop.limits import shorten
from altprop.nets import build
from altprop.rules import RULES
from altprop.run.checks import check_domain, check_fit
from altprop.run.inputs import augmentation, check_square, load_data, suited_data, views_by, weigh
from altprop.run.learner import Learner
from altprop.run.machine import check_room, check_threads, find_device, worth_threads
from altprop.run.phases import find_turns
from altprop.run.precision import check_precision
from altprop.run.readout import SOLVED, Readout
from altprop.run.recipe import Recipe, RunError
from altprop.run.values import is_none
from altprop.suits import RATES

SMALL = 5000  # training samples; below this many an epoch is so short that more of them are the better default


def prepare(
    recipe: Recipe, data: Dataset | None = None, net: nn.Module | None = None, resident: bool = True,
    cuts: Sequence[Layer] | None = None,
) -> Learner:  # fmt: skip
    """Build what the recipe names; ``data`` and ``net`` stand in for those of the recipe.

    cuts: the layers of a net that is no chain.
    resident: whether the data are moved to the device at once; else batch by batch, and nothing is measured on them.

    Raises ``RunError``, ``DataError``, ``NetError`` or ``Refused``, each one line that says what to do."""
    device = find_device(recipe.device)
    check_threads(recipe.threads)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    data = load_data(recipe) if data is None else data
    if net is None:
        check_square(recipe, data)
    recipe = resolve(recipe, data, custom_net=net is not None)
    if RULES[recipe.rule].claims.labels or not recipe.readout.after:
        data = replace(data, x_unlabelled=None)  # which nobody will look at
    data = data.to(device) if resident else data
    if net is None:
        net = build_net(recipe, data.shape, data.outputs)
    net, data = net.to(device), suited_data(data, net)
    rule = build_rule(recipe, net, as_input(data.x_train[:1].to(device)), cuts)
    _freeze(recipe, rule)
    check_precision(recipe.precision, rule)
    check_domain(recipe.rule, data)
    check_fit(recipe, rule, data)
    recipe, turns = find_turns(recipe, rule)
    data, augment = weigh(data, recipe, rule), augmentation(recipe, data)
    batch = min(recipe.batch, len(data.x_train))
    check_room(rule, batch)
    if recipe.threads is None and device.type == "cpu":
        torch.set_num_threads(worth_threads(rule, batch))
    torch.manual_seed(recipe.seed)  # of dropout
    order = torch.Generator().manual_seed(recipe.seed)
    plastic = frozenset(parameter for parameter in rule.parameters() if parameter.requires_grad)
    return Learner(recipe, data, net, rule, turns, order, augment, plastic)


def resolve(recipe: Recipe, data: Dataset, custom_net: bool = False) -> Recipe:
    """The recipe with everything decided that was left to rule and data."""
    suits = RULES[recipe.rule].suits
    multihot = data.multihot
    loss = recipe.loss or ("cross_entropy" if data.classes else "binary_cross_entropy" if multihot else "mse")
    if not data.classes and loss != "mse" and not (multihot and loss == "binary_cross_entropy"):
        raise RunError(f"loss '{loss}' came for targets that are no classes: leave it out, or give --loss mse")
    bounded = bool(data.classes) or loss == "binary_cross_entropy"  # the error, and with it the rate that fits
    optimizer = recipe.optimizer or suits.optimizer
    net = data.net or f"{prod(data.shape)}-256-{data.outputs}"
    if suits.norms:
        first, *hidden, last = net.split("-")
        # No phase moves the statistics of a norm before a readout that learns after the layers below.
        top = [suits.norm_of_readout] if suits.norm_of_readout and not recipe.readout.after else []
        net = "-".join([first, *(f"{suits.norms}-{part}" for part in hidden), *top, last])
    named = recipe.data in DATASETS or recipe.data == "custom"
    standardised = data.target_scaling is not None
    absolute = recipe.data if named else _absolute(recipe.data)  # since a run may be read from elsewhere
    return recipe.with_(
        data=recipe.data if named else absolute,
        loss=loss,
        net="custom" if custom_net else net if recipe.net is None else recipe.net,
        init=recipe.init or suits.init,
        optimizer=optimizer,
        augment=views_by(recipe),
        act="custom" if custom_net else suits.activation if recipe.act in (None, "auto") else recipe.act,
        scale=recipe.scale or data.scale,
        target_scale=recipe.target_scale or (None if data.classes else "standard" if standardised else "none"),
        lr=recipe.lr or (optimizer != suits.optimizer and RATES[optimizer]) or suits.rate(bounded, standardised),
        readout=_resolved_readout(recipe, bounded),
        epochs=recipe.epochs or (60 if len(data.x_train) < SMALL else 10),
    )


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().resolve())
    except (OSError, RuntimeError, ValueError) as error:  # no home, links that go in circles, a zero byte
        raise RunError(f"no data can be at {shorten(path, 120)} ({shorten(error, 80)}): check the path") from error


def _resolved_readout(recipe: Recipe, classes: bool) -> dict[str, Any]:
    """Its table with optimizer and rate, empty where nothing reads out."""
    if recipe.readout == Readout() and RULES[recipe.rule].claims.labels:
        return {}
    head: Any = recipe.readout.model_dump()
    if recipe.readout.by not in SOLVED:
        head["optimizer"] = head["optimizer"] or ("sgd" if classes else "adam")
        rate = RULES[recipe.rule].suits.lr_readout * (1 if classes else 0.03)  # whose error is not bounded
        head["lr"] = head["lr"] or RATES[head["optimizer"]] or rate
    beside = not RULES[recipe.rule].claims.labels and recipe.arguments.get("readout") is not False
    return head if beside or recipe.readout.after else {}


def build_net(recipe: Recipe, shape: tuple[int, ...], outputs: int) -> nn.Module:
    if recipe.net is None or recipe.net == "custom":
        raise RunError("the run was trained on a net given from Python: give it again, as altprop.load(run, net=net)")
    options = {"dropout": recipe.dropout, "bias": recipe.bias, "init": recipe.init, "seed": recipe.seed}
    return build(recipe.net, shape, outputs, act=recipe.act or "relu", **options)  # type: ignore[arg-type]


def build_rule(recipe: Recipe, net: nn.Module, example: Tensor, cuts: Sequence[Layer] | None = None) -> Rule:
    """The rule on that net; its feedback is drawn from the recipe's seed unless the arguments give another."""
    arguments = _arguments(recipe)
    given: dict[str, Any] = {"example": example, "loss": recipe.loss or "cross_entropy", "cuts": cuts}
    try:
        if recipe.rule in ALIGNMENTS and has_blocks(layers(net) if cuts is None else cuts):
            return Aligned(net, align=recipe.rule, **given, **arguments)
        return RULES[recipe.rule](net, **given, **arguments)
    except TypeError as error:
        raise Refused(f"rule '{recipe.rule}' does not take {recipe.arguments}: {error}") from error


def _arguments(recipe: Recipe) -> dict[str, Any]:
    """Those of the rule as it takes them: None for the word, and for a number a float, which torch converts whatever
    its size, as it does not a whole number; feedback is drawn from the recipe's seed, unless they give another."""
    hints = typing.get_type_hints(RULES[recipe.rule].__init__)
    given = {"seed": recipe.seed, **recipe.arguments} if "seed" in hints else recipe.arguments
    return {
        name: None if is_none(value) else float(value) if type(value) is int and hints[name] is not int else value
        for name, value in given.items()
    }


def has_blocks(cuts: Sequence[Layer]) -> bool:
    """Whether a layer above the first is neither Linear nor a convolution, so that feedback has to reach into it."""
    return any(not is_dense(layer.synapse) for layer in cuts[1:])


def _freeze(recipe: Recipe, rule: Rule) -> None:
    if recipe.freeze >= len(rule.layers):
        raise RunError(f"freeze = {recipe.freeze} came for a net of {len(rule.layers)} layers: leave one that learns")
    for layer in rule.layers[: recipe.freeze]:
        for parameter in layer.parameters():
            parameter.requires_grad_(False)
