"""The recipe of a search: everything that decides its run, and how it is written down."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from altprop.limits import nearest, shorten, shown
from altprop.run.directory.files import RunError, read_toml
from altprop.run.readout import Count, Text
from altprop.run.recipe import toml_key, toml_value
from altprop.run.values import FITS, plain
from altprop.searches import SEARCHES
from altprop.tasks import kind_of

GIVEN = {"self", "inputs", "outputs", "seed", "example", "dtype", "device"}  # by task and recipe
Arguments = dict[str, bool | int | float | Text | list[float]]


class SearchRecipe(BaseModel):
    """One run of a search.  ``None`` is decided from the task when the run starts, and written down then."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    search: Text
    arguments: Arguments = Field(default_factory=dict)
    task: Text | None = None  # what is asked; None where data are given
    task_arguments: Arguments = Field(default_factory=dict)
    data: Text | None = None
    data_dir: Text | None = None
    label: Text = "label"
    scale: Text | None = None
    loss: Text | None = None
    batch: Count = 1024  # samples that a generation is asked
    net: Text | None = None  # of a search for the parameters of one
    act: Text | None = None
    init: Text | None = None
    bias: bool = True
    generations: Count = 100  # at most: a task that is solved ends the run
    parts: Count | None = None  # in which a generation is evaluated; as many processes can share it
    seed: int = Field(0, ge=0, lt=2**63)
    threads: int | None = Field(None, ge=1, le=1024)

    def with_(self, **changes: Any) -> SearchRecipe:
        """The recipe with these changes, checked; raises ``RunError``."""
        return make_search_recipe(**{**self.model_dump(), **changes})

    @property
    def rule(self) -> str:
        """Whose numbers these are, as tables say it."""
        return self.search

    def experiment(self) -> dict[str, Any]:
        """What decides the numbers that come out, the seed and what is left at its default excepted."""
        return self.model_dump(exclude_defaults=True, exclude={"seed", "threads", "data_dir"})

    def toml(self) -> str:
        """The recipe as TOML, without what is None; ``read_search_recipe`` gives it back."""
        table = self.model_dump(exclude_none=True)
        inner = {key: table.pop(key) for key in ("arguments", "task_arguments")}
        lines = [f"{key} = {toml_value(value)}" for key, value in table.items()]
        for name, part in inner.items():
            if part:
                lines += ["", f"[{name}]", *(f"{toml_key(key)} = {toml_value(value)}" for key, value in part.items())]
        return "\n".join(lines) + "\n"


def make_search_recipe(**values: Any) -> SearchRecipe:
    """A checked recipe; raises ``RunError`` for unknown keys, searches, tasks and arguments, with the nearest."""
    for key in values:
        if key not in SearchRecipe.model_fields:
            raise RunError(f"a search has no recipe key '{shorten(key, 60)}'{nearest(key, SearchRecipe.model_fields)}")
    try:
        recipe = SearchRecipe(**{key: plain(value) for key, value in values.items()})
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = shorten(".".join(str(part) for part in first["loc"][:2]), 60)
        message = first["msg"].replace("Input should", "it should").removeprefix("Value error, ")
        raise RunError(f"{where} = {shown(first['input'])} came: {message}") from None
    _known("search", recipe.search, SEARCHES)
    check_arguments(f"search '{recipe.search}'", SEARCHES[recipe.search], recipe.arguments)
    if recipe.task not in (None, CUSTOM):
        check_arguments(f"task '{recipe.task}'", kind_of(str(recipe.task))[0], recipe.task_arguments)
    if (recipe.task is None) == (recipe.data is None):
        came = "task and data came together" if recipe.task else "neither task nor data came"
        raise RunError(f"{came}: give search '{recipe.search}' one of them, such as --task xor or --data digits")
    return recipe


CUSTOM = "custom"  # a task or a net from Python


def _known(what: str, name: str, table: Mapping[str, Any]) -> None:
    if name not in table:
        raise RunError(f"unknown {what} '{shorten(name, 60)}'{nearest(name, table)}")


def read_search_recipe(path: Path, **changes: Any) -> SearchRecipe:
    """The recipe in a TOML file, with ``changes`` on top; raises ``RunError``."""
    table = read_toml(path)
    for key in ("arguments", "task_arguments"):
        if isinstance(table.get(key), dict):
            table[key] = {**table[key], **changes.pop(key, {})}
    try:
        return make_search_recipe(**{**table, **changes})
    except RunError as error:
        raise RunError(f"recipe {shorten(path, 100)}: {error}") from error


def arguments_of(kind: type) -> dict[str, Any]:
    """The arguments of a search or a task that a recipe may give, and their defaults."""
    parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
    return {p.name: p.default for p in parameters if p.name not in GIVEN and p.default is not p.empty}


def check_arguments(what: str, kind: type, arguments: Mapping[str, Any]) -> None:
    """Raises ``RunError`` for an argument that it does not have, or that is not of the type in its signature; what a
    search takes beside those it checks itself."""
    known, signature = arguments_of(kind), inspect.signature(kind.__init__)  # type: ignore[misc]
    hints = typing.get_type_hints(kind.__init__)  # type: ignore[misc]
    more = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for name, value in arguments.items():
        if name not in known and (not more or name in GIVEN):
            raise RunError(f"{what} has no argument '{shorten(name, 60)}'{nearest(str(name), known)}")
        kinds = [each for each in typing.get_args(hints.get(name)) or (hints.get(name),) if each in FITS]
        if kinds and not any(FITS[each](value) for each in kinds):
            raise RunError(f"argument {name}={shown(value)} of {what} came: give one such as {known[name]}")
