"""The options that several commands share.  Those of a recipe are its keys, with their help and defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo

from altprop.run.recipe import Recipe


def _import(files: list[Path] | None) -> None:
    """Run the files before the command, so that it knows their rules."""
    if files:
        from altprop.registry import import_rules

        for file in files:
            import_rules(file.absolute())


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]
Out = Annotated[Path | None, typer.Option(help="Run directory [runs/...].")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="An argument of the rule, key=value; repeatable.")]
Config = Annotated[Path | None, typer.Option(help="A recipe in TOML; options given beside it come first.")]
Ray = Annotated[
    str | None, typer.Option(help="Address of a Ray cluster that works; local: one of --jobs processes here.")
]
Imports = Annotated[
    list[Path] | None, typer.Option("--import", help="A .py file with rules of your own; repeatable.", callback=_import)
]


def _plain(hint: Any) -> type:
    """The type of an option for values of that type: the first of several, and text for what the parser splits."""
    first = get_args(hint)[0] if get_origin(hint) in (Annotated, Union, UnionType) else hint
    return _plain(first) if first is not hint else hint if hint in (bool, int, float) else str


def _option(name: str, field: FieldInfo) -> Any:
    """``--name`` as the recipe's key has it; a flag that is on by default can be turned off."""
    kind, help, spelled = _plain(field.annotation), field.description or "", name.replace("_", "-")
    if "[" not in help and field.default is not False:
        help += f" [{field.default:g}]" if kind is float else f" [{name if kind is bool else field.default}]"
    flags = [f"--{spelled}/--no-{spelled}" if field.default else f"--{spelled}"] if kind is bool else [f"--{spelled}"]
    return Annotated[kind | None, typer.Option(*flags, help=f"{help}.")]


#: Of a recipe's keys, those that have a description.
RECIPE = {name: _option(name, field) for name, field in Recipe.model_fields.items() if field.description}


def taking(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options in the place of its parameter ``recipe``, a dict of those that were given."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        parameters = []
        for name, own in inspect.signature(command).parameters.items():
            kinds = {key: RECIPE[key] for key in names} if name == "recipe" else {name: hints[name]}
            default = None if name == "recipe" else own.default
            kind = own.KEYWORD_ONLY if name == "recipe" or own.default is not own.empty else own.kind
            parameters += [
                own.replace(name=key, kind=kind, annotation=hint, default=default) for key, hint in kinds.items()
            ]

        @wraps(command)
        def taken(**arguments: Any) -> None:
            command(recipe=_given({key: arguments.pop(key) for key in names}), **arguments)

        taken.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        taken.__annotations__ = {each.name: each.annotation for each in parameters}
        return taken

    return decorate


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, by the recipe's keys; defaults live in ``Recipe`` alone."""
    kept = {key: value for key, value in options.items() if value is not None}
    if "categories" in kept:
        kept["categories"] = [name.strip() for name in kept["categories"].split(",") if name.strip()]
    if "measure" in kept:
        kept["probe"] = kept["measure"]
    return kept
