"""Values as they are given, in a file, on a command line or from Python, and the checked recipe that they make."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from altprop.data import spell_weights
from altprop.limits import LARGEST, nearest, shorten, shown
from altprop.registry import is_known
from altprop.rules import RULES
from altprop.run.directory.files import RunError, read_toml
from altprop.run.former import OLD, modern
from altprop.run.readout import Readout
from altprop.run.recipe import Recipe
from altprop.searches import SEARCHES
from altprop.suits import RATES, RULE

RESERVED = {"net", "example", "loss", "cuts", "arguments", "self"}  # arguments of a rule that the recipe itself gives


def make_recipe(**values: Any) -> Recipe:
    """A checked recipe; raises ``RunError`` for unknown keys, rules and rule arguments (with the nearest match) and for
    values out of range."""
    for key in values:
        if key not in Recipe.model_fields and key not in OLD:
            raise RunError(f"unknown recipe key '{shorten(key, 60)}'{nearest(key, Recipe.model_fields)}")
    values = modern({key: plain(value) for key, value in values.items()})
    rule, arguments = values.get("rule", RULE), values.get("arguments")
    values["class_weight"] = spell_weights(values.get("class_weight"))
    if isinstance(rule, str):
        check_rule(rule)
        if isinstance(arguments, dict):
            values["arguments"] = arguments = _spelled(rule, arguments)
            check_arguments(rule, arguments)
    try:
        recipe = Recipe(**values)
    except pydantic.ValidationError as error:
        faults = error.errors(include_url=False)
        first = next((fault for fault in faults if fault["type"] == "value_error"), faults[0])  # ours before a union's
        depth = 3 if first["loc"][0] == "phase" else 2
        where = shorten(".".join(str(part) for part in first["loc"][:depth] if "[" not in str(part)), 60)
        message = first["msg"].replace("Input should", "it should").removeprefix("Value error, ")
        raise RunError(f"{where} = {shown(first['input'])} came: {message}") from None
    _check_optimizer(recipe)
    _check_phases(recipe)
    return recipe


def _spelled(rule: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with None as a word, which TOML can hold; left out where they are None by themselves."""
    known = rule_arguments(rule) if isinstance(rule, str) and rule in RULES else {}
    words = {name: "None" if value is None else value for name, value in arguments.items()}
    return {name: value for name, value in words.items() if not is_none(value) or known.get(name, ...) is not None}


def is_none(value: Any) -> bool:
    """Whether it is the word for None, which TOML does not have."""
    return isinstance(value, str) and value == "None"


def _check_optimizer(recipe: Recipe) -> None:
    optimizer = recipe.optimizer or RULES[recipe.rule].suits.optimizer
    for name in (optimizer, recipe.readout.optimizer, *(table.optimizer for table in recipe.phase)):
        if name is not None and name not in RATES:
            raise RunError(f"unknown optimizer '{name}'{nearest(name, RATES)}")
    if recipe.nesterov and (optimizer != "sgd" or not recipe.momentum):
        raise RunError(
            f"nesterov came with optimizer '{optimizer}', momentum {recipe.momentum:g}: it is of sgd's momentum"
        )


def _check_phases(recipe: Recipe) -> None:
    """What is meant for a readout is refused elsewhere; the names of phases are known when the rule is built."""
    told = recipe.readout
    if told == Readout():
        return
    if RULES[recipe.rule].claims.signal != "none":
        raise RunError(f"readout came, but every layer of rule '{recipe.rule}' learns by labels: leave it out")
    if told.after and recipe.arguments.get("supervised"):
        raise RunError("supervised came beside a readout after the layers below: give it by = 'hebbian' instead")
    if recipe.arguments.get("readout") is False:
        raise RunError(
            "readout came with the argument readout=false, so that no layer reads out: leave one of them out"
        )
    if told.by == "hebbian" and not told.after:
        raise RunError("readout by 'hebbian' came without epochs: give them, or --set supervised=true to softhebb")
    how, idle = told.idle
    for key in idle:
        if getattr(told, key) != Readout.model_fields[key].default:
            raise RunError(f"readout.{key} came for a readout {how}, which does not use it: leave it out")


def read_recipe(path: Path, **changes: Any) -> Recipe:
    """The recipe in a TOML file, with ``changes`` on top; raises ``RunError``."""
    table = read_toml(path)
    arguments = table.get("arguments", {})
    if isinstance(arguments, dict):
        arguments = {**arguments, **changes.pop("arguments", {})}
    try:
        return make_recipe(**{**table, **changes, "arguments": arguments})
    except RunError as error:
        raise RunError(f"recipe {shorten(path, 100)}: {error}") from error


def check_rule(rule: str) -> None:
    if is_known(rule):
        return
    if rule in SEARCHES:
        raise RunError(f"'{rule}' is a search, no rule: give it to altprop.evolve, or to altprop train")
    own = "one of your own comes by --import FILE.py or altprop.register"
    raise RunError(f"unknown rule '{shorten(rule, 60)}'{nearest(rule, [*RULES, *SEARCHES], 150)}; {own}")


def rule_arguments(rule: str) -> dict[str, Any]:
    """The arguments of a rule that ``--set`` may give, and their defaults."""
    parameters = inspect.signature(RULES[rule].__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in RESERVED}


def check_arguments(rule: str, arguments: Mapping[str, Any]) -> None:
    """Raises ``RunError`` for an argument that the rule does not have, or that is not of the type in its signature."""
    known, hints = rule_arguments(rule), typing.get_type_hints(RULES[rule].__init__)
    for name, value in arguments.items():
        if name not in known:
            raise RunError(f"rule '{rule}' has no argument '{shorten(name, 60)}'{nearest(str(name), known)}")
        if not _fits(value, hints[name]):
            kinds = " or ".join(KINDS[kind] for kind in _kinds(hints[name]))
            what = f"argument {name}={shown(value)} of rule '{rule}' came"
            raise RunError(f"{what}: give {kinds}, such as {known[name]}")
        if name == "seed" and value < 0:
            raise RunError(f"argument seed={value} of rule '{rule}' came: give a whole number from 0 to 2**63 - 1")


KINDS: dict[Any, str] = {
    int: "a whole number", float: "a number that float32 holds", str: "a word", bool: "true or false",
    type(None): "None", Sequence[float]: "a list of them",
}  # fmt: skip


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The types that an annotation allows."""
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value, as TOML has it, is of one of the types of an annotation; None is a word there."""
    return any(FITS[kind](value) for kind in _kinds(hint))


FITS: dict[Any, typing.Callable[[Any], bool]] = {
    bool: lambda value: type(value) is bool,
    int: lambda value: type(value) is int and -(2**63) <= value < 2**63,
    float: lambda value: type(value) in (int, float) and abs(value) <= LARGEST,  # which NaN is not
    str: lambda value: type(value) is str,
    type(None): is_none,
    Sequence[float]: lambda value: isinstance(value, list) and all(map(FITS[float], value)),
}


def plain(value: Any) -> Any:
    """A value as TOML has it: numbers of NumPy and torch as those of Python, sequences as lists."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
