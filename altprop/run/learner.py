"""From a recipe to something that learns: data, net, rule, optimizers and schedule, all from one seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from altprop.core import Layer, Refused, Rule
from altprop.data import Dataset, as_float, load
from altprop.nets import build
from altprop.rules import RULES
from altprop.run.recipe import DEFAULTS, OPTIMIZER_RATES, Recipe, RunError, nearest, rule_arguments

SMALL = 5000  # training samples; below this many an epoch is so short that more of them are the better default

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {  # (parameter groups, recipe)
    "sgd": lambda p, r: torch.optim.SGD(p, lr=r.lr, momentum=r.momentum, weight_decay=r.weight_decay),
    "adam": lambda p, r: torch.optim.Adam(p, lr=r.lr, weight_decay=r.weight_decay),
    "adamw": lambda p, r: torch.optim.AdamW(p, lr=r.lr, weight_decay=r.weight_decay),
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
    schedulers: list[LambdaLR]
    order: torch.Generator  # of the training samples

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """One batch: credit, then every optimizer's step; with ``stream`` each layer's as soon as it can."""
        if self.recipe.stream:
            loss = self.rule.credit(x, y, ready=self._update)
        else:
            self.optimizers[0].zero_grad()
            loss = self.rule.credit(x, y)
            self.optimizers[0].step()
        return loss

    def _update(self, layer: Layer) -> None:
        optimizer = self.optimizers[self.rule.layers.index(layer)]
        optimizer.step()
        optimizer.zero_grad()


def prepare(recipe: Recipe, data: Dataset | None = None, net: nn.Module | None = None) -> Learner:
    """Build what the recipe names; ``data`` and ``net`` stand in for those of the recipe.

    Raises ``RunError``, ``DataError``, ``NetError`` or ``Refused``, each one line that says what to do."""
    device = find_device(recipe.device)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    if data is None:
        options = {"label": recipe.label, "scale": recipe.scale, "val": recipe.val, "seed": recipe.seed}
        data = load(recipe.data, data_dir=recipe.data_dir, **options)  # type: ignore[arg-type]
    recipe = resolve(recipe, data, custom_net=net is not None)
    data = data.to(device)
    net = build_net(recipe, data.shape, data.outputs) if net is None else net
    net = net.to(device)
    rule = build_rule(recipe, net, as_float(data.x_train[:1]))
    if rule.classes != data.outputs:
        raise RunError(f"the net has {rule.classes} outputs, but the data has {data.outputs}: end it in {data.outputs}")
    optimizers = _optimizers(recipe, rule)
    factor = find_schedule(recipe.schedule, recipe.epochs or 1)
    torch.manual_seed(recipe.seed)  # of dropout
    order = torch.Generator().manual_seed(recipe.seed)
    return Learner(recipe, data, net, rule, optimizers, [LambdaLR(o, factor) for o in optimizers], order)


def resolve(recipe: Recipe, data: Dataset, custom_net: bool = False) -> Recipe:
    """The recipe with everything decided that was left to rule and data."""
    default = DEFAULTS[recipe.rule]
    fallback = f"{prod(data.shape)}-256-{data.outputs}"
    return recipe.with_(
        loss=recipe.loss or ("cross_entropy" if data.classes else "mse"),
        net="custom" if custom_net else recipe.net or data.net or fallback,
        act="custom" if custom_net else default.act if recipe.act in (None, "auto") else recipe.act,
        lr=recipe.lr or OPTIMIZER_RATES[recipe.optimizer] or default.lr,
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
    try:
        return RULES[recipe.rule](net, example=example, loss=recipe.loss or "cross_entropy", **arguments)
    except TypeError as error:
        raise Refused(f"rule '{recipe.rule}' does not take {recipe.arguments}: {error}") from error


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
    make = OPTIMIZERS[recipe.optimizer]
    if not recipe.stream:
        return [make(rule.param_groups(recipe.lr or 0.0), recipe)]
    return [make([{"params": list(layer.parameters()), "lr": recipe.lr}], recipe) for layer in rule.layers]
