"""The same net with its hidden layers frozen at random: what the layers that a rule has taught must beat.

The control teaches the last layer alone.  It knows its own net; where that of a rule is drawn otherwise (activation,
norms, init), it runs once more on that, for all rules that share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from altprop.run.learner import Learner
from altprop.study.plan import Plan, of_role

DRAWN = ("net", "act", "init", "dropout", "bias")  # the keys of a recipe that decide the net, and how it is drawn
UNWATCHED = {"measure": False, "probe": False}


def with_controls(plan: Plan, learners: Mapping[str, Learner]) -> tuple[Plan, dict[str, str]]:
    """(The plan with a control for each net, by rule the name of its control).

    A rule has none that cannot be built, is the control itself, or has no hidden layers."""
    control, names = of_role("control"), dict[str, str]()
    known = {_drawn(learners[control]): control} if control in learners and control in plan.rules else {}
    frozen: dict[str, Mapping[str, Any]] = {}
    for rule in plan.rules:
        if rule == control or rule not in learners or len(learners[rule].rule.layers) < 2:
            continue
        drawn = _drawn(learners[rule])
        if drawn not in known:
            known[drawn] = f"frozen/{rule}"  # a folder of its own: its runs are no row
            own = {key: value for key, value in plan.own.get(control, {}).items() if key not in DRAWN}
            frozen[known[drawn]] = own | dict(zip(DRAWN, drawn, strict=True)) | UNWATCHED
        names[rule] = known[drawn]
    return replace(plan, frozen=frozen), names


def _drawn(learner: Learner) -> tuple[Any, ...]:
    return tuple(getattr(learner.recipe, key) for key in DRAWN)
