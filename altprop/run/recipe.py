"""A recipe: everything that decides a run, as a TOML file or keyword arguments, checked before anything is built."""

from __future__ import annotations

import inspect
import json
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from altprop.data import spell_weights
from altprop.limits import LARGEST, closest, shorten, shown
from altprop.registry import is_known
from altprop.rules import RULES
from altprop.run.directory.files import RunError, read_toml
from altprop.run.former import OLD, modern
from altprop.run.readout import MANY, Amount, Count, Fraction, PhaseTable, Rate, Readout, Text
from altprop.suits import RATES

# Where and how a run is made, but not what it is: two recipes that differ in these alone are the same experiment.
BESIDE = {"seed", "device", "threads", "data_dir", "measure", "probe"}
SELDOM = ("power", "phase", "readout", "categories")  # keys that say nothing where they are not given
RESERVED = {"net", "example", "loss", "cuts", "arguments", "self"}  # arguments of a rule that the recipe itself gives


class Recipe(BaseModel):
    """One run.  ``None`` is decided from the rule and the data when the run starts, and written down then."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    rule: Text = "bp"
    arguments: dict[str, bool | int | float | Text | list[float]] = Field(default_factory=dict)
    loss: Text | None = None
    data: Text = "digits"
    data_dir: Text | None = None
    label: Text = "label"
    task: Literal["classification", "regression"] | None = None  # of labels that could be either
    encoding: Text | None = None  # of the letters of a table
    categories: list[Text] = Field(default_factory=list)  # columns of a table that are text
    missing: Literal["drop", "mean"] | None = None  # of cells without a value
    scale: Text | None = None  # of the inputs: none, unit or standard; None: standard for tables, else none
    target_scale: Text | None = None  # of a regression's targets; None: standard, but none for published data
    class_weight: Text | list[Amount] | dict[Text, Amount] | None = None  # "balanced", one a class, or by name
    val: Fraction = 0.0
    net: Text | None = None
    act: Text | None = None
    dropout: Fraction = 0.0
    bias: bool = True
    init: Text | None = None
    freeze: int = Field(default=0, ge=0, lt=MANY)  # layers, from the input up, that stay as they were drawn
    whiten: Text | None = None
    augment: Text | None = None
    epochs: Count | None = None
    batch: Count = 64
    optimizer: Text | None = None
    lr: Rate | None = None
    power: Amount = 0.5  # of norm_sgd
    momentum: Fraction = 0.9
    nesterov: bool = False
    eps: Rate | None = None  # of adam and adamw
    weight_decay: Amount = 0.0
    schedule: Text = "constant"
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Text = "cpu"
    threads: int | None = Field(default=None, ge=1, le=1024)
    stream: bool = False
    phase: list[PhaseTable] = Field(default_factory=list)  # how phases of a rule learn that are not as the above says
    readout: Readout = Readout()  # and the one named readout, whose features may be computed once
    measure: bool = True  # angles and norms after every epoch
    probe: bool = False  # and at the end weights, receptive fields, hidden activity and robustness

    @property
    def rate_used(self) -> list[float] | float | None:
        """The rates of the phases that have their own, else the one of all."""
        return [table.lr for table in self.phase if table.lr is not None] or self.lr

    def with_(self, **changes: Any) -> Recipe:
        return make_recipe(**{**self.model_dump(), **changes})

    def by_rule(self, rule: str, **changes: Any) -> Recipe:
        """The same experiment by another rule, without the settings of phases that it cannot have."""
        claims = RULES[rule].claims
        if claims.labels and rule != self.rule:
            changes = {"phase": [], **changes}
        if claims.signal != "none":
            changes = {"readout": {}, **changes}
        return self.with_(rule=rule, **{"arguments": {}, **changes})

    def experiment(self) -> dict[str, Any]:
        """What decides the numbers that come out, the seed and what is left at its default excepted."""
        return self.model_dump(exclude_defaults=True, exclude=BESIDE)

    def toml(self) -> str:
        """The recipe as TOML, without what is None or says nothing of this rule; ``read_recipe`` gives it back."""
        table, given = self.model_dump(exclude_none=True), self.model_dump(exclude_defaults=True)
        table = {key: value for key, value in table.items() if key not in SELDOM or key in given}
        phases = [each.given() | {"name": each.name} for each in self.phase]
        table.pop("phase", None)
        tables = ("readout", "arguments", *("class_weight",) * isinstance(self.class_weight, dict))
        inner = {key: table.pop(key, None) for key in tables}
        lines = [f"{key} = {_toml(value)}" for key, value in table.items()]
        for name, part in inner.items():
            if part:
                lines += ["", f"[{name}]", *(f"{_key(key)} = {_toml(value)}" for key, value in part.items())]
        for part in phases:
            lines += [
                "",
                "[[phase]]",
                *(f"{key} = {_toml(part[key])}" for key in PhaseTable.model_fields if key in part),
            ]
        return "\n".join(lines) + "\n"


def make_recipe(**values: Any) -> Recipe:
    """A checked recipe; raises ``RunError`` for unknown keys, rules and rule arguments (with the nearest match) and for
    values out of range."""
    for key in values:
        if key not in Recipe.model_fields and key not in OLD:
            raise RunError(f"unknown recipe key '{shorten(key, 60)}'{nearest(key, Recipe.model_fields)}")
    values = modern({key: _plain(value) for key, value in values.items()})
    rule, arguments = values.get("rule", "bp"), values.get("arguments")
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
    return {name: value for name, value in words.items() if not _is_none(value) or known.get(name, ...) is not None}


def _is_none(value: Any) -> bool:
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
    if recipe.readout != Readout() and RULES[recipe.rule].claims.signal != "none":
        raise RunError(f"readout came, but every layer of rule '{recipe.rule}' learns by labels: leave it out")
    told = recipe.readout
    if told.after and recipe.arguments.get("supervised"):
        raise RunError("supervised came beside a readout after the layers below: give it by = 'hebbian' instead")
    if told != Readout() and recipe.arguments.get("readout") is False:
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
    if not is_known(rule):
        own = "one of your own comes by --import FILE.py or altprop.register"
        raise RunError(f"unknown rule '{shorten(rule, 60)}'{nearest(rule, RULES, 150)}; {own}")


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


def as_signature(rule: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Checked arguments as the rule takes them: None for the word, and for a number a float, which torch converts
    whatever its size, as it does not a whole number."""
    hints = typing.get_type_hints(RULES[rule].__init__)
    return {
        name: None if _is_none(value) else float(value) if type(value) is int and hints[name] is not int else value
        for name, value in arguments.items()
    }


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
    type(None): _is_none,
    Sequence[float]: lambda value: isinstance(value, list) and all(map(FITS[float], value)),
}


def nearest(word: str, known: Iterable[str], width: int = 210) -> str:
    """The end of a message about an unknown name: the nearest one that there is, and all of them."""
    names = list(known)
    close = closest(word, names)
    listed = shorten(", ".join(names) or "none", width - 40 * bool(close))
    return (f"; did you mean '{close}'?" if close else ";") + f" there is {listed}"


def _plain(value: Any) -> Any:
    """A value as TOML has it: numbers of NumPy and torch as those of Python, sequences as lists."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # the one that TOML forbids beside JSON's
