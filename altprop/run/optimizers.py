"""Optimizers and schedules: what the recipe names, one for the whole net or one a layer."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

import torch

from altprop.core import Rule
from altprop.optim import NormSGD
from altprop.run.recipe import Recipe, RunError, nearest

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {  # (parameter groups, recipe)
    "sgd": lambda p, r: torch.optim.SGD(
        p, lr=r.lr, momentum=r.momentum, weight_decay=r.weight_decay, nesterov=r.nesterov
    ),
    "adam": lambda p, r: torch.optim.Adam(p, lr=r.lr, weight_decay=r.weight_decay, eps=r.eps or 1e-8),
    "adamw": lambda p, r: torch.optim.AdamW(p, lr=r.lr, weight_decay=r.weight_decay, eps=r.eps or 1e-8),
    "rmsprop": lambda p, r: torch.optim.RMSprop(p, lr=r.lr, momentum=r.momentum, weight_decay=r.weight_decay),
    "norm_sgd": lambda p, r: NormSGD(p, lr=r.lr, power=r.power, weight_decay=r.weight_decay),
}

SCHEDULES: dict[str, Callable[[float, int, list[int]], float]] = {  # (epoch from 0, epochs, milestones) -> factor of lr
    "constant": lambda epoch, epochs, milestones: 1.0,
    "linear": lambda epoch, epochs, milestones: 1 - epoch / epochs,
    "ramp": lambda epoch, epochs, milestones: 1 - epoch / epochs,
    "cosine": lambda epoch, epochs, milestones: (1 + cos(pi * epoch / epochs)) / 2,
    "step": lambda epoch, epochs, milestones: 0.1 ** sum(epoch >= milestone for milestone in milestones),
    "halve": lambda epoch, epochs, milestones: 0.5 ** sum(epoch >= milestone for milestone in milestones),
}
MILESTONED = ("step", "halve")
BATCHWISE = ("ramp",)  # set anew for every batch, not for every epoch


def streams(recipe: Recipe, rule: Rule) -> bool:
    """Whether each layer is stepped as soon as it can be: as asked, or since a rule updates more than once a batch, or
    since the readout has an optimizer of its own."""
    return recipe.stream or rule.claims.updates > 1 or not rule.claims.labels


def find_schedule(text: str, epochs: int) -> Callable[[float], float]:
    """``constant``, ``linear``, ``ramp`` (linear batch by batch), ``cosine``, ``step@60,90``: a tenth from each of
    these epochs on, or ``halve@50%,75%``: a half, here from these shares of all epochs on."""
    name, _, tail = text.partition("@")
    if name not in SCHEDULES or (name in MILESTONED) != bool(tail):
        plain = [known for known in SCHEDULES if known not in MILESTONED]
        raise RunError(f"unknown schedule '{text}'{nearest(name, plain)}, step@60,90, halve@50%,75%")
    try:
        parts = tail.split(",") if tail else []
        milestones = [int(epochs * float(part[:-1]) / 100) if part.endswith("%") else int(part) for part in parts]
    except ValueError as error:
        raise RunError(f"schedule '{text}' came; write the epochs as step@60,90, or their shares as 50%,75%") from error
    return lambda epoch: SCHEDULES[name](epoch, epochs, milestones)


def make_optimizers(recipe: Recipe, rule: Rule) -> list[torch.optim.Optimizer]:
    """One for all parameters, or one a layer where each is stepped by itself."""
    groups = [rule.param_groups(recipe.lr or 0.0)]
    recipes = [recipe]
    if streams(recipe, rule):
        if len(groups[0]) > 1:
            what = f"rule '{recipe.rule}' learns parameters of its own, which belong to no layer"
            raise RunError(f"stream came, but {what}: leave --stream out")
        recipes = _recipes(recipe, rule)
        groups = [
            [{"params": list(layer.parameters()), "lr": own.lr}]
            for layer, own in zip(rule.layers, recipes, strict=True)
        ]
    optimizers = [OPTIMIZERS[own.optimizer or "sgd"](group, own) for group, own in zip(groups, recipes, strict=True)]
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["initial_lr"] = group["lr"]
    return optimizers


def _recipes(recipe: Recipe, rule: Rule) -> list[Recipe]:
    """For each layer one that says how it is stepped: by a rate of its own, and the readout by its own optimizer."""
    reads = bool(getattr(rule, "readout", False))
    hidden = len(rule.layers) - reads
    if len(recipe.rates) not in (0, hidden):
        raise RunError(f"{len(recipe.rates)} rates came for {hidden} layers that learn without labels: give one each")
    own = [recipe.with_(lr=rate) for rate in recipe.rates] or [recipe] * hidden
    head = recipe.readout
    settings = {key: getattr(head, key) for key in ("optimizer", "momentum", "weight_decay")}
    settings["lr"] = head.lr or recipe.lr  # of a readout in closed form, which takes no step
    return [*own, recipe.with_(**settings, nesterov=False)] if reads else own
