"""From a recipe to something that learns: data, net, rule, optimizers and schedule, all from one seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import cos, isfinite, pi, prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Layer, Refused, Rule, layers
from altprop.core.layer import is_dense
from altprop.data import AUGMENTATIONS, DATASETS, Dataset, as_float, load
from altprop.measure import fit_whitening
from altprop.nets import build
from altprop.rules import RULES
from altprop.rules.graph import KINDS as ALIGNMENTS
from altprop.rules.graph import Aligned
from altprop.run.recipe import (
    OPTIMIZER_RATES,
    REGRESSION_FACTOR,
    Recipe,
    RunError,
    defaults,
    nearest,
    rule_arguments,
)  # fmt: skip

SMALL = 5000  # training samples; below this many an epoch is so short that more of them are the better default

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {  # (parameter groups, recipe)
    "sgd": lambda p, r: torch.optim.SGD(
        p, lr=r.lr, momentum=r.momentum, weight_decay=r.weight_decay, nesterov=r.nesterov
    ),
    "adam": lambda p, r: torch.optim.Adam(p, lr=r.lr, weight_decay=r.weight_decay, eps=r.eps or 1e-8),
    "adamw": lambda p, r: torch.optim.AdamW(p, lr=r.lr, weight_decay=r.weight_decay, eps=r.eps or 1e-8),
    "rmsprop": lambda p, r: torch.optim.RMSprop(p, lr=r.lr, momentum=r.momentum, weight_decay=r.weight_decay),
}

SCHEDULES: dict[str, Callable[[int, int, list[int]], float]] = {  # (epoch from 0, epochs, milestones) -> factor of lr
    "constant": lambda epoch, epochs, milestones: 1.0,
    "linear": lambda epoch, epochs, milestones: 1 - epoch / epochs,
    "cosine": lambda epoch, epochs, milestones: (1 + cos(pi * epoch / epochs)) / 2,
    "step": lambda epoch, epochs, milestones: 0.1 ** sum(epoch >= milestone for milestone in milestones),
}


@dataclass
class Learner:
    """Everything a run needs, built."""

    recipe: Recipe
    data: Dataset
    net: nn.Module
    rule: Rule
    optimizers: list[torch.optim.Optimizer]  # one, or with ``stream`` one for each layer
    schedule: Callable[[int], float]  # epoch from 0 -> factor of the learning rate
    order: torch.Generator  # of the training samples, and of what augmentation does to them
    augment: Callable[[Tensor, torch.Generator], Tensor]

    def anneal(self, epoch: int) -> None:
        """Set the learning rate of an epoch, counted from 0."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * self.schedule(epoch)

    def step(self, x: Tensor, y: Tensor) -> float:
        """One batch: credit, then the optimizer's step unless the loss is not finite; with ``stream`` each layer's step
        as soon as it can.  Returns the loss."""
        if streams(self.recipe, self.rule):
            return self.rule.credit(x, y, ready=self._update).item()
        self.optimizers[0].zero_grad()
        loss = self.rule.credit(x, y).item()
        if isfinite(loss):  # else the weights are left as they are, so that the layer that broke can be told
            self.optimizers[0].step()
        return loss

    def _update(self, layer: Layer) -> None:
        optimizer = self.optimizers[self.rule.layers.index(layer)]
        optimizer.step()
        optimizer.zero_grad()


def streams(recipe: Recipe, rule: Rule) -> bool:
    """Whether each layer is stepped as soon as it can be: as asked, or since a rule updates more than once a batch."""
    return recipe.stream or rule.claims.updates > 1


def prepare(recipe: Recipe, data: Dataset | None = None, net: nn.Module | None = None) -> Learner:
    """Build what the recipe names; ``data`` and ``net`` stand in for those of the recipe.

    Raises ``RunError``, ``DataError``, ``NetError`` or ``Refused``, each one line that says what to do."""
    device = find_device(recipe.device)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    data = load_data(recipe) if data is None else data
    recipe = resolve(recipe, data, custom_net=net is not None)
    data = data.to(device)
    net = build_net(recipe, data.shape, data.outputs) if net is None else net
    net = net.to(device)
    rule = build_rule(recipe, net, as_float(data.x_train[:1]))
    if rule.classes != data.outputs:
        raise RunError(f"the net has {rule.classes} outputs, but the data has {data.outputs}: end it in {data.outputs}")
    schedule = find_schedule(recipe.schedule, recipe.epochs or 1)
    _freeze(recipe, rule)
    torch.manual_seed(recipe.seed)  # of dropout
    order = torch.Generator().manual_seed(recipe.seed)
    augment = _augmentation(recipe, data)
    return Learner(recipe, data, net, rule, _optimizers(recipe, rule), schedule, order, augment)


def load_data(recipe: Recipe) -> Dataset:
    """The data that the recipe names, split, scaled and whitened as it says."""
    data = load(
        recipe.data, data_dir=recipe.data_dir, label=recipe.label, scale=recipe.scale, val=recipe.val, seed=recipe.seed
    )
    return whitened(data, recipe.whiten)


def whitened(data: Dataset, kind: str | None) -> Dataset:
    """The data set with every part whitened by the statistics of its training part; None leaves it as it is."""
    if kind is None:
        return data
    whitening = fit_whitening(as_float(data.x_train), kind)
    parts: dict[str, Any] = {f"x_{part}": whitening.apply(as_float(x)).float() for part, x, _ in data.parts()}
    return replace(data, **parts)


def resolve(recipe: Recipe, data: Dataset, custom_net: bool = False) -> Recipe:
    """The recipe with everything decided that was left to rule and data."""
    default = defaults(recipe.rule)
    loss = recipe.loss or ("cross_entropy" if data.classes else "mse")
    if not data.classes and loss != "mse":
        raise RunError(f"loss '{loss}' came for targets that are no classes: leave it out, or give --loss mse")
    rate = default.lr * (1 if data.classes else REGRESSION_FACTOR)
    fallback = f"{prod(data.shape)}-256-{data.outputs}"
    named = recipe.data in DATASETS or recipe.data == "custom"
    absolute = str(Path(recipe.data).expanduser().resolve())  # since a run may be read from elsewhere
    return recipe.with_(
        data=recipe.data if named else absolute,
        loss=loss,
        net="custom" if custom_net else (data.net or fallback) if recipe.net is None else recipe.net,
        act="custom" if custom_net else default.act if recipe.act in (None, "auto") else recipe.act,
        lr=recipe.lr or OPTIMIZER_RATES[recipe.optimizer] or rate,
        epochs=recipe.epochs or (60 if len(data.x_train) < SMALL else 10),
    )


def build_net(recipe: Recipe, shape: tuple[int, ...], outputs: int) -> nn.Module:
    if recipe.net is None or recipe.net == "custom":
        raise RunError("the run was trained on a net given from Python: give it again, as altprop.load(run, net=net)")
    options = {"dropout": recipe.dropout, "bias": recipe.bias, "init": recipe.init, "seed": recipe.seed}
    return build(recipe.net, shape, outputs, act=recipe.act or "relu", **options)  # type: ignore[arg-type]


def build_rule(recipe: Recipe, net: nn.Module, example: Tensor) -> Rule:
    """The rule on that net; its feedback is drawn from the recipe's seed unless the arguments give another."""
    arguments: dict[str, Any] = dict(recipe.arguments)
    if "seed" in rule_arguments(recipe.rule):
        arguments.setdefault("seed", recipe.seed)
    loss = recipe.loss or "cross_entropy"
    try:
        if recipe.rule in ALIGNMENTS and has_blocks(net):
            return Aligned(net, align=recipe.rule, example=example, loss=loss, **arguments)
        return RULES[recipe.rule](net, example=example, loss=loss, **arguments)
    except TypeError as error:
        raise Refused(f"rule '{recipe.rule}' does not take {recipe.arguments}: {error}") from error


def has_blocks(net: nn.Module) -> bool:
    """Whether a layer above the first is neither Linear nor a convolution, so that feedback has to reach into it."""
    return any(not is_dense(layer.synapse) for layer in layers(net)[1:])


def _freeze(recipe: Recipe, rule: Rule) -> None:
    if recipe.freeze >= len(rule.layers):
        raise RunError(f"freeze = {recipe.freeze} came for a net of {len(rule.layers)} layers: leave one that learns")
    for layer in rule.layers[: recipe.freeze]:
        for parameter in layer.parameters():
            parameter.requires_grad_(False)


def _augmentation(recipe: Recipe, data: Dataset) -> Callable[[Tensor, torch.Generator], Tensor]:
    if recipe.augment is None:
        return lambda x, generator: x
    if recipe.augment not in AUGMENTATIONS:
        raise RunError(f"unknown augmentation '{recipe.augment}'{nearest(recipe.augment, AUGMENTATIONS)}")
    if len(data.shape) != 3:
        raise RunError(f"augment = '{recipe.augment}' came for samples of shape {data.shape}: it takes images")
    return AUGMENTATIONS[recipe.augment]


def find_device(name: str) -> torch.device:
    """That device, if it is there; raises ``RunError``."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RunError(f"device '{name}' is not there; use --device cpu ({str(error).splitlines()[0]})") from error
    return device


def find_schedule(text: str, epochs: int) -> Callable[[int], float]:
    """``constant``, ``linear``, ``cosine``, or ``step@60,90``: a tenth from each of these epochs on."""
    name, _, tail = text.partition("@")
    if name not in SCHEDULES or (name == "step") != bool(tail):
        raise RunError(f"unknown schedule '{text}'{nearest(name, [*SCHEDULES][:-1])}, step@60,90")
    try:
        milestones = [int(part) for part in tail.split(",")] if tail else []
    except ValueError as error:
        raise RunError(f"schedule '{text}' came; write the epochs as step@60,90") from error
    return lambda epoch: SCHEDULES[name](epoch, epochs, milestones)


def _optimizers(recipe: Recipe, rule: Rule) -> list[torch.optim.Optimizer]:
    groups = [rule.param_groups(recipe.lr or 0.0)]
    if streams(recipe, rule):
        if len(groups[0]) > 1:
            what = f"rule '{recipe.rule}' learns parameters of its own, which belong to no layer"
            raise RunError(f"stream came, but {what}: leave --stream out")
        groups = [[{"params": list(layer.parameters()), "lr": recipe.lr}] for layer in rule.layers]
    optimizers = [OPTIMIZERS[recipe.optimizer](group, recipe) for group in groups]
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["initial_lr"] = group["lr"]
    return optimizers
