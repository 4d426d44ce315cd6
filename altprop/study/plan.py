"""What a comparison runs: which rules, which seeds, and the recipe of each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from altprop.limits import nearest, shorten, shown
from altprop.rules import RULES
from altprop.run.recipe import Recipe, RunError
from altprop.run.values import check_rule, rule_arguments

MOST_SEEDS = 1000
# Keys of a recipe that are one for all rules, since a comparison holds them fixed.
SHARED = {
    "rule", "arguments", "data", "data_dir", "label", "task", "encoding", "categories", "missing", "scale",
    "target_scale", "class_weight", "val", "whiten", "augment", "net", "loss", "epochs", "batch", "seed", "device",
    "precision", "compile", "threads", "measure", "probe",
}  # fmt: skip


def of_role(role: str) -> str:
    """The name of the rule that says of itself that it is the reference, or the control."""
    return next(name for name, rule in RULES.items() if rule.role == role)


@dataclass(frozen=True)
class Plan:
    """Rules, seeds, and the recipe that they share but for what is a rule's own."""

    base: Recipe
    named: tuple[str, ...]
    seeds: tuple[int, ...]
    own: Mapping[str, Mapping[str, Any]]  # keys of the recipe, by rule
    lenient: bool  # whether a rule that refuses net or data is a row, not an error
    frozen: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # keys of the control on other nets, by name

    @property
    def control(self) -> str | None:
        """The control, where it was not named and so is added."""
        control = of_role("control")
        return None if control in self.named else control

    @property
    def rules(self) -> list[str]:
        """Those that were named, and the control behind them if it was not."""
        return [*self.named, *([self.control] if self.control else [])]

    def recipe(self, rule: str, seed: int) -> Recipe:
        if rule in self.frozen:
            return self.base.by_rule(of_role("control"), seed=seed, **self.frozen[rule])
        return self.base.by_rule(rule, seed=seed, **self.own.get(rule, {}))

    def forgives(self, rule: str) -> bool:
        """Whether the others go on where this rule refuses net or data."""
        return rule == self.control or (self.lenient and rule != of_role("reference"))


def make_plan(
    rules: Sequence[str] | None,
    seeds: int | Sequence[int],
    base: Recipe,
    settings: Mapping[str, Mapping[str, Any]],
) -> Plan:
    """rules: None for all that need no extra of the package.  settings: of single rules, keys of the recipe such as lr,
    and arguments of the rule.  Raises ``RunError`` for what is unknown, with the nearest name."""
    named = [name for name, rule in RULES.items() if rule.requires is None] if rules is None else list(rules)
    for name in named:
        check_rule(name)
    if len(set(named)) < len(named) or not named:
        what = "names a rule twice: name each once" if named else "names no rule: give one or several"
        raise RunError(f"rules {shorten(','.join(named), 100)} {what}")
    plan = Plan(base, tuple(named), tuple(seed_numbers(seeds)), {}, lenient=rules is None)
    own = {rule: _own(rule, settings.get(rule, {}), base) for rule in plan.rules}
    for rule in settings:
        if rule not in own:
            key = next(iter(settings[rule]), "")
            raise RunError(f"{shorten(rule, 40)}.{shorten(key, 40)} came, but is not compared{nearest(rule, own)}")
    return Plan(base, plan.named, plan.seeds, own, plan.lenient)


def _own(rule: str, settings: Mapping[str, Any], base: Recipe) -> dict[str, Any]:
    """What is this rule's own: of the recipe, and the arguments, those of the base recipe too where it is its rule."""
    arguments = dict(base.arguments) if rule == base.rule else {}
    own: dict[str, Any] = {}
    known = rule_arguments(rule)
    free = [key for key in Recipe.model_fields if key not in SHARED]
    for key, value in settings.items():
        if key in known and not isinstance(value, Mapping):
            arguments[key] = value
        elif key in free:
            own[key] = value
        elif key in SHARED:
            what = f"{rule}.{key} came, but a comparison has one {key} for all rules"
            raise RunError(f"{what}: give {key} by itself, or compare twice")
        else:
            raise RunError(f"rule '{rule}' has no setting '{shorten(key, 60)}'{nearest(key, [*known, *free])}")
    return {**own, "arguments": arguments}


def seed_numbers(seeds: int | Sequence[int], came: str = "") -> list[int]:
    """The seeds themselves, given or counted from 0; ``came``: as the user wrote them."""
    numbers = list(range(min(seeds, MOST_SEEDS + 1))) if isinstance(seeds, int) else list(seeds)
    whole = all(type(number) is int and 0 <= number < 2**63 for number in numbers)
    if not whole or not 0 < len(numbers) <= MOST_SEEDS or len(set(numbers)) < len(numbers):
        which = "4,7,9" if came else "[4, 7, 9]"
        raise RunError(f"{came or f'seeds {shown(seeds)}'} came: give how many, such as 3, or which, such as {which}")
    return numbers
