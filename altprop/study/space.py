"""What is searched: keys of a recipe, each with a range or a choice, written as ``lr=log:1e-4:1,batch=choice:32|64``.

Keys are those of ``Recipe``, ``arguments.NAME`` of the rule, ``readout.KEY`` and ``phase.NAME.KEY``.  Kinds are
``log:a:b`` and ``lin:a:b`` of numbers, ``int:a:b`` of whole numbers, both ends among them, and ``choice:a|b|c``.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from altprop.limits import shorten, shown
from altprop.run.recipe import Recipe, RunError
from altprop.study.keys import changes, check_key

EDGE = 0.1  # of a range's width: the best that lies so near an end may lie beyond it
ENTRY = re.compile(r",(?=[^,=]+=(?:log|lin|int|choice):)")  # a comma before the next key; choices may hold others


class Dimension(ABC):
    """What one key may be; ``text`` is how it is written."""

    text: str
    ends: tuple[Any, ...]  # values that must be possible: both ends, or every choice

    @abstractmethod
    def suggest(self, trial: Any, key: str) -> Any:
        """A value, as the sampler of a trial of Optuna draws it."""

    @abstractmethod
    def distribution(self, optuna: Any) -> Any:
        """As Optuna keeps it beside a value that was drawn before."""

    @abstractmethod
    def place(self, value: Any) -> float | None:
        """Where a value lies: 0 at the lower end, 1 at the upper one; None for what has no order, or is none of it."""

    @abstractmethod
    def holds(self, value: Any) -> bool:
        """Whether a value is one of these."""


@dataclass(frozen=True)
class Range(Dimension):
    """From ``low`` to ``high``, even in the logarithm where ``log`` says so, whole numbers alone where ``whole``."""

    text: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:  # type: ignore[override]
        return self.low, self.high

    def suggest(self, trial: Any, key: str) -> Any:
        if self.whole:
            return trial.suggest_int(key, self.low, self.high)
        return trial.suggest_float(key, self.low, self.high, log=self.log)

    def distribution(self, optuna: Any) -> Any:
        kinds = optuna.distributions
        if self.whole:
            return kinds.IntDistribution(self.low, self.high)
        return kinds.FloatDistribution(self.low, self.high, log=self.log)

    def place(self, value: Any) -> float | None:
        if not self.holds(value):
            return None
        low, high, at = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        return (at - low) / (high - low)

    def holds(self, value: Any) -> bool:
        known = type(value) is int or (type(value) is float and not self.whole)
        return known and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice(Dimension):
    """One of several."""

    text: str
    ends: tuple[Any, ...]

    def suggest(self, trial: Any, key: str) -> Any:
        return trial.suggest_categorical(key, list(self.ends))

    def distribution(self, optuna: Any) -> Any:
        return optuna.distributions.CategoricalDistribution(list(self.ends))

    def place(self, value: Any) -> float | None:
        return None

    def holds(self, value: Any) -> bool:
        return any(value == one and type(value) is type(one) for one in self.ends)


def _range(text: str, tail: str, log: bool, whole: bool) -> Range:
    kind: Callable[[str], Any] = int if whole else float
    low, high = (kind(part) for part in tail.split(":"))
    if not (low < high and math.isfinite(low) and math.isfinite(high) and (low > 0 or not log)):
        raise ValueError("the ends are not in order")
    return Range(text, low, high, log, whole)


def _choice(text: str, tail: str) -> Choice:
    values = tuple(_value(part.strip()) for part in tail.split("|"))
    if "" in values or len(set(map(str, values))) < len(values):
        raise ValueError("a choice is empty, or stands there twice")
    return Choice(text, values)


def _value(text: str) -> Any:
    """A number, true or false where it is one, else the text itself."""
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else text
    return {"true": True, "false": False}.get(text.lower(), text)


KINDS: dict[str, Callable[[str, str], Dimension]] = {
    "log": lambda text, tail: _range(text, tail, log=True, whole=False),
    "lin": lambda text, tail: _range(text, tail, log=False, whole=False),
    "int": lambda text, tail: _range(text, tail, log=False, whole=True),
    "choice": _choice,
}


def parse_space(space: str | Mapping[str, Any]) -> dict[str, Dimension]:
    """The dimensions by key; from Python a dict of key and text, such as {"lr": "log:1e-4:1"}, or of a list of choices.

    Raises ``RunError`` for a key that no recipe has or that decides how trials are judged, and for what is no range."""
    if isinstance(space, str):
        pairs: Any = [part.partition("=")[::2] for part in ENTRY.split(space) if part.strip()]
    else:
        pairs = [(key, _written(value)) for key, value in space.items()]
    found: dict[str, Dimension] = {}
    for key, text in ((key.strip(), text.strip()) for key, text in pairs):
        check_key(key)
        if key in found:
            raise RunError(f"--space names {shorten(key, 60)} twice: name each key once")
        kind, _, tail = text.partition(":")
        try:
            found[key] = KINDS[kind](text, tail)
        except (KeyError, ValueError):
            what = f"--space {shorten(key, 60)}={shorten(text, 60)} came"
            kinds = "log:low:high (of numbers above 0), lin:low:high, int:low:high or choice:a|b|c"
            raise RunError(f"{what}: write {kinds}, low below high, such as lr=log:1e-4:1") from None
    return found


def _written(value: Any) -> str:
    return value if isinstance(value, str) else "choice:" + "|".join(map(str, value))


def check_ends(recipe: Recipe, space: Mapping[str, Dimension]) -> None:
    """Raises ``RunError`` as the recipe does where an end of a range, or a choice, is none that it takes."""
    for key, dimension in space.items():
        for value in dimension.ends:
            try:
                recipe.with_(**changes(recipe, {key: value}))
            except RunError as error:
                raise RunError(f"--space {shorten(key, 60)} with {shown(value)}: {error}") from error


def edges(space: Mapping[str, Dimension], best: Mapping[str, Any], tried: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The keys whose best value lies within a tenth of its range from an end, and none that was tried between the two:
    a better one may lie beyond."""
    trials = list(tried)
    for key, dimension in space.items():
        place = dimension.place(best.get(key))
        others = [at for at in (dimension.place(values.get(key)) for values in trials) if at is not None]
        if place is not None and any(
            inside < EDGE and not any(sign * at > sign * place for at in others)
            for inside, sign in ((place, -1), (1 - place, 1))
        ):
            yield key
