"""A recipe: everything that decides a run, as a TOML file or keyword arguments, checked before anything is built."""

from __future__ import annotations

import difflib
import inspect
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from altprop.optim import RATES
from altprop.rules import RULES
from altprop.run.readout import Readout

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[import-not-found, no-redef, unused-ignore]


class RunError(ValueError):
    """A run that cannot be started, read or continued; one line that says what to do."""


# Where and how a run is made, but not what it is: two recipes that differ in these alone are the same experiment.
BESIDE = {"seed", "device", "threads", "data_dir", "measure", "probe"}
UNTAUGHT = ("rates", "power", "layerwise", "readout")  # keys for layers that learn without labels
RESERVED = {"net", "example", "loss", "cuts", "arguments", "self"}  # arguments of a rule that the recipe itself gives


class Recipe(BaseModel):
    """One run.  ``None`` is decided from the rule and the data when the run starts, and written down then."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    rule: str = "bp"
    arguments: dict[str, bool | int | float | str | list[float]] = Field(default_factory=dict)
    loss: str | None = None
    data: str = "digits"
    data_dir: str | None = None
    label: str = "label"
    scale: str | None = None
    val: float = Field(default=0.0, ge=0, lt=1)
    net: str | None = None
    act: str | None = None
    dropout: float = Field(default=0.0, ge=0, lt=1)
    bias: bool = True
    init: str | None = None
    freeze: int = Field(default=0, ge=0)  # layers, from the input up, that stay as they were drawn
    whiten: str | None = None
    augment: str | None = None
    epochs: int | None = Field(default=None, ge=1)
    batch: int = Field(default=64, ge=1)
    optimizer: str | None = None
    lr: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    rates: list[float] = Field(default_factory=list)  # one a layer that learns without labels, in place of lr
    power: float = Field(default=0.5, ge=0, allow_inf_nan=False)  # of norm_sgd
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    eps: float | None = Field(default=None, gt=0, allow_inf_nan=False)  # of adam and adamw
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    schedule: str = "constant"
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: str = "cpu"
    threads: int | None = Field(default=None, ge=1, le=1024)
    stream: bool = False
    layerwise: bool = False  # the layers below the readout one after another, each for that many epochs
    readout: Readout = Readout()
    measure: bool = True  # angles and norms after every epoch
    probe: bool = False  # and at the end weights, receptive fields, hidden activity and robustness

    @property
    def rate_used(self) -> list[float] | float | None:
        """One rate for each layer that learns without labels where the recipe has them, else the one of all layers."""
        return self.rates or self.lr

    def with_(self, **changes: Any) -> Recipe:
        return make_recipe(**{**self.model_dump(), **changes})

    def by_rule(self, rule: str, **changes: Any) -> Recipe:
        """The same experiment by another rule, without the settings of layers that learn without labels where it has
        none."""
        claims = RULES[rule].claims
        if claims.labels:
            changes = {"rates": [], "layerwise": False, **changes}
        if claims.signal != "none":
            changes = {"readout": {}, **changes}
        return self.with_(rule=rule, **{"arguments": {}, **changes})

    def experiment(self) -> dict[str, Any]:
        """What decides the numbers that come out, the seed and what is left at its default excepted."""
        return self.model_dump(exclude_defaults=True, exclude=BESIDE)

    def toml(self) -> str:
        """The recipe as TOML, without what is None or says nothing of this rule; ``read_recipe`` gives it back."""
        table, given = self.model_dump(exclude_none=True), self.model_dump(exclude_defaults=True)
        table = {key: value for key, value in table.items() if key not in UNTAUGHT or key in given}
        inner = {key: table.pop(key, None) for key in ("readout", "arguments")}
        lines = [f"{key} = {_toml(value)}" for key, value in table.items()]
        for name, part in inner.items():
            if part:
                lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in part.items())]
        return "\n".join(lines) + "\n"


def make_recipe(**values: Any) -> Recipe:
    """A checked recipe; raises ``RunError`` for unknown keys, rules and rule arguments (with the nearest match) and for
    values out of range."""
    for key in values:
        if key not in Recipe.model_fields:
            raise RunError(f"unknown recipe key '{key}'{nearest(key, Recipe.model_fields)}")
    if isinstance(values.get("arguments"), dict):
        values["arguments"] = _spelled(values.get("rule", "bp"), values["arguments"])
    try:
        recipe = Recipe(**values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][:2])
        message = first["msg"].replace("Input should", "it should")
        raise RunError(f"{where} = {first['input']!r} came: {message}") from None
    check_rule(recipe.rule)
    check_arguments(recipe.rule, recipe.arguments)
    _check_optimizer(recipe)
    _check_phases(recipe)
    return recipe


def _spelled(rule: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with None as a word, which TOML can hold; left out where they are None by themselves."""
    known = rule_arguments(rule) if isinstance(rule, str) and rule in RULES else {}
    words = {name: "None" if value is None else value for name, value in arguments.items()}
    return {name: value for name, value in words.items() if value != "None" or known.get(name, ...) is not None}


def _check_optimizer(recipe: Recipe) -> None:
    optimizer = recipe.optimizer or RULES[recipe.rule].suits.optimizer
    for name in (optimizer, recipe.readout.optimizer):
        if name is not None and name not in RATES:
            raise RunError(f"unknown optimizer '{name}'{nearest(name, RATES)}")
    if recipe.nesterov and (optimizer != "sgd" or not recipe.momentum):
        raise RunError(
            f"nesterov came with optimizer '{optimizer}', momentum {recipe.momentum:g}: it is of sgd's momentum"
        )


def _check_phases(recipe: Recipe) -> None:
    """What is meant for layers that learn without labels is refused elsewhere."""
    claims = RULES[recipe.rule].claims
    for key, given in (("layerwise", recipe.layerwise), ("rates", bool(recipe.rates))):
        if given and claims.labels:
            raise RunError(f"{key} came, but rule '{recipe.rule}' trains its layers by labels: use it with 'softhebb'")
    if recipe.readout != Readout() and claims.signal != "none":
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
    if recipe.layerwise and not recipe.readout.after:
        raise RunError("layerwise came without epochs of the readout: give it readout = { epochs = 50 }, say")


def read_recipe(path: Path, **changes: Any) -> Recipe:
    """The recipe in a TOML file, with ``changes`` on top; raises ``RunError``."""
    table = read_toml(path)
    arguments = table.get("arguments", {})
    if isinstance(arguments, dict):
        arguments = {**arguments, **changes.pop("arguments", {})}
    try:
        return make_recipe(**{**table, **changes, "arguments": arguments})
    except RunError as error:
        raise RunError(f"recipe {path}: {error}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file; raises ``RunError``."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"cannot read the recipe {path}: {error.strerror or error}; give a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f'the recipe {path} is not TOML ({error}): write lines such as rule = "pepita"') from error


def check_rule(rule: str) -> None:
    if rule not in RULES:
        raise RunError(f"unknown rule '{rule}'{nearest(rule, RULES)}")


def rule_arguments(rule: str) -> dict[str, Any]:
    """The arguments of a rule that ``--set`` may give, and their defaults."""
    parameters = inspect.signature(RULES[rule].__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in RESERVED}


def check_arguments(rule: str, arguments: Mapping[str, Any]) -> None:
    """Raises ``RunError`` for an argument that the rule does not have, or one of another type than its default."""
    known = rule_arguments(rule)
    for name, value in arguments.items():
        if name not in known:
            raise RunError(f"rule '{rule}' has no argument '{name}'{nearest(name, known)}")
        wanted: Any = str if known[name] is None else type(known[name])
        if isinstance(value, list) and wanted is float and name in MANY and all(map(math.isfinite, value)):
            continue
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise RunError(
                f"argument {name}={value!r} of rule '{rule}' came: give {KINDS[wanted]}, such as {known[name]}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise RunError(
                f"argument {name}={value} of rule '{rule}' came: give a finite number, such as {known[name]}"
            )
        if name == "seed" and not 0 <= value < 2**63:
            raise RunError(f"argument seed={value} of rule '{rule}' came: give a whole number from 0 to 2**63 - 1")


MANY = ("inverse_temperature",)  # arguments that may be one number a layer
KINDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """``key=value`` pairs, the values read as TOML where that is possible and as text elsewhere."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not (separator and key.strip()):
            raise RunError(f"--set {pair} came; write it as --set key=value, such as --set sign=-1")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = {"True": True, "False": False}.get(text, text)
        settings[key.strip()] = value
    return settings


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest one that there is, and all of them."""
    names = list(known)
    close = difflib.get_close_matches(word, names, 1, cutoff=0.5)
    return (f"; did you mean '{close[0]}'?" if close else ";") + f" there is {', '.join(names) or 'none'}"


def _toml(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # the one that TOML forbids beside JSON's
