"""Optimizers and schedules: what the recipe names, one for the whole net or one a layer."""

from __future__ import annotations

import copy
import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Layer, Rule
from altprop.limits import nearest, shorten, shown
from altprop.optim import NormSGD, in_one_pass
from altprop.run.recipe import Recipe, RunError

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {  # (parameter groups, recipe)
    "sgd": lambda p, r: in_one_pass(
        torch.optim.SGD, p, lr=r.lr, momentum=r.momentum, weight_decay=r.weight_decay, nesterov=r.nesterov
    ),
    "adam": lambda p, r: in_one_pass(torch.optim.Adam, p, lr=r.lr, weight_decay=r.weight_decay, eps=r.eps or 1e-8),
    "adamw": lambda p, r: in_one_pass(torch.optim.AdamW, p, lr=r.lr, weight_decay=r.weight_decay, eps=r.eps or 1e-8),
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
MEANS = ("fused", "foreach")  # how torch takes a step, which is no setting of it
MILESTONED = ("step", "halve")
MILESTONE = re.compile(r"(\d{1,9})|(\d{1,3}(?:\.\d{1,9})?)%", re.ASCII)  # an epoch, or a share of all
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
        raise RunError(f"unknown schedule '{shorten(text, 60)}'{nearest(name, plain)}, step@60,90, halve@50%,75%")
    matches = [MILESTONE.fullmatch(part.strip()) for part in (tail.split(",") if tail else [])]
    if not all(match and float(match[2] or 0) <= 100 for match in matches):
        what = f"schedule '{shorten(text, 60)}' came"
        raise RunError(f"{what}; write the epochs as step@60,90, or their shares as 50%,75%")
    milestones = [int(m[1]) if m[1] else int(epochs * float(m[2]) / 100) for m in matches if m]
    return lambda epoch: SCHEDULES[name](epoch, epochs, milestones)


def make_optimizers(
    rule: Rule, parts: Sequence[tuple[Recipe, set[nn.Parameter]]], streaming: bool
) -> dict[Layer | None, list[torch.optim.Optimizer]]:
    """One for all parameters with the same settings; by layer where each is stepped by itself, else of None.

    parts: of each phase its recipe, and what moves in it."""
    made: dict[Layer | None, list[torch.optim.Optimizer]] = {}
    for recipe, moved in _joined(parts):
        lr = recipe.lr or 0.0
        for owner in rule.layers if streaming else [None]:
            groups = rule.param_groups(lr) if owner is None else rule.groups_of(owner, lr)
            own = [{**group, "params": [p for p in group["params"] if p in moved]} for group in groups]
            moving = [group for group in own if group["params"]]
            if moving or owner is None:
                made.setdefault(owner, []).append(_optimizer(moving or own[:1], recipe))
    return made


def _joined(parts: Sequence[tuple[Recipe, set[nn.Parameter]]]) -> list[tuple[Recipe, set[nn.Parameter]]]:
    """Those that follow each other and have the same settings, as one."""
    joined: list[tuple[Recipe, set[nn.Parameter]]] = []
    for recipe, moved in parts:
        if joined and joined[-1][0] == recipe:
            moved = moved | joined.pop()[1]
        joined.append((recipe, moved))
    return joined


def _optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    optimizer = OPTIMIZERS[recipe.optimizer or "sgd"](groups, recipe)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def restore(optimizer: torch.optim.Optimizer, saved: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Give a fresh optimizer the state of another: what is no tensor from ``saved``, the rest from ``tensors``, whose
    keys are PARAMETER.NAME.

    Raises ``ValueError`` for what this optimizer would not have left, and for settings that are not its own."""
    groups = optimizer.state_dict()["param_groups"]
    for own, other in zip(json.loads(json.dumps(groups)), saved["param_groups"], strict=True):
        for key in (own.keys() & other.keys() | {"initial_lr"}) - {"lr", *MEANS}:
            if own.get(key) != other.get(key):
                raise ValueError(f"{key} is {shown(other.get(key))}, not {shown(own.get(key))}")
        rate = other.get("lr")  # which the next epoch sets anew, but this one's row may still have to tell
        if not (isinstance(rate, int | float) and 0 <= rate <= own["initial_lr"]):
            raise ValueError(f"lr is {shown(rate)}, not from 0 to {own['initial_lr']:g}")
    groups = [{**own, "lr": other["lr"]} for own, other in zip(groups, saved["param_groups"], strict=True)]
    state: dict[int, dict[str, Any]] = {int(index): dict(plain) for index, plain in saved["plain"].items()}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    parameters, names = [p for group in optimizer.param_groups for p in group["params"]], _names(optimizer)
    for place, entries in state.items():
        if place >= len(parameters) or entries.keys() != names:
            raise ValueError(f"parameter {place} has {shown(sorted(entries))}, not {shown(sorted(names))}")
        for name, value in entries.items():
            like = (parameters[place].shape, parameters[place].dtype)
            count = isinstance(value, Tensor) and value.dim() == 0 and value.is_floating_point()
            if not (count or (isinstance(value, Tensor) and (value.shape, value.dtype) == like)):
                raise ValueError(f"{name} of parameter {place} is not like its parameter")
            if not bool(value.isfinite().all()):
                raise ValueError(f"{name} of parameter {place} is not finite")
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _names(optimizer: torch.optim.Optimizer) -> set[str]:
    """What such an optimizer keeps of a parameter, as its first step on another one shows."""
    twin = copy.copy(optimizer)
    other = torch.zeros(1, 1, requires_grad=True)
    other.grad = torch.zeros(1, 1)
    twin.state = defaultdict(dict)
    twin.param_groups = [{**optimizer.param_groups[0], "params": [other]}]
    twin.step()
    return set(twin.state[other])
