"""The options that several commands share, each with its help; their defaults live in ``Recipe`` alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer


def _import(files: list[Path] | None) -> None:
    """Run the files before the command, so that it knows their rules."""
    if files:
        from altprop.registry import import_rules

        for file in files:
            import_rules(file.absolute())


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]
Net = Annotated[str | None, typer.Option(help="Spec such as 784-1024-10 or conv32k5-pool2-10; default: the data's.")]
Data = Annotated[str | None, typer.Option(help="Name, .npz, .csv or folder of images by class [digits].")]
DataDir = Annotated[str | None, typer.Option(help="Where published sets lie [ALTPROP_DATA, else a cache].")]
Label = Annotated[str | None, typer.Option(help="Label column of a .csv [label].")]
Task = Annotated[str | None, typer.Option(help="classification or regression [told from the labels].")]
Encoding = Annotated[str | None, typer.Option(help="Of the letters of a .csv [told from the file].")]
Categories = Annotated[str | None, typer.Option(help="Text columns of a .csv to be one-hot, comma-separated [none].")]
Missing = Annotated[str | None, typer.Option(help="Cells of a .csv without a value: drop (the row) or mean [refused].")]
Scale = Annotated[
    str | None, typer.Option(help="Rescale inputs: none, unit, standard [standard for tables, else none].")
]
ClassWeight = Annotated[
    str | None, typer.Option(help="What classes count: balanced, numbers such as 1,5, or cat=1,dog=5 [all alike].")
]
Val = Annotated[float | None, typer.Option(help="Fraction of the training part to hold out for tuning [0].")]
Act = Annotated[str | None, typer.Option(help="Activation, or auto: that of the rule's source [auto].")]
Dropout = Annotated[float | None, typer.Option(help="After every hidden linear layer [0].")]
Bias = Annotated[bool | None, typer.Option("--bias/--no-bias", help="Biases in the net [bias].")]
Init = Annotated[str | None, typer.Option(help="Initialiser of the weights [the rule's, mostly he_uniform].")]
Loss = Annotated[str | None, typer.Option(help="cross_entropy, binary_cross_entropy or mse [by the data].")]
Epochs = Annotated[int | None, typer.Option(help="[10, or 60 where the data are few]")]
Rate = Annotated[float | None, typer.Option("--lr", help="Learning rate [the rule's, see altprop list].")]
Momentum = Annotated[float | None, typer.Option(help="Of sgd and rmsprop [0.9].")]
Batch = Annotated[int | None, typer.Option(help="[64]")]
Schedule = Annotated[
    str | None, typer.Option(help="constant, linear, ramp, cosine, step@60,90 or halve@50% [constant].")
]
Decay = Annotated[float | None, typer.Option(help="Weight decay [0].")]
Optimizer = Annotated[str | None, typer.Option(help="sgd, adam, adamw, rmsprop or norm_sgd [the rule's, mostly sgd].")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ... [cpu].")]
Threads = Annotated[int | None, typer.Option(help="Of the processor [as many as the net is worth].")]
Out = Annotated[Path | None, typer.Option(help="Run directory [runs/...].")]
Nesterov = Annotated[bool | None, typer.Option("--nesterov", help="Of sgd's momentum.")]
Freeze = Annotated[int | None, typer.Option(help="Layers from the input that stay as drawn [0].")]
Augment = Annotated[str | None, typer.Option(help="Of images: flip, crop or flip+crop.")]
Whiten = Annotated[str | None, typer.Option(help="Inputs by the training part: pca or zca.")]
Stream = Annotated[bool | None, typer.Option("--stream", help="Step each layer as soon as it can.")]
Measure = Annotated[
    bool | None, typer.Option("--measure/--no-measure", help="All that can be measured / nothing [angles, norms].")
]
Settings = Annotated[list[str] | None, typer.Option("--set", help="An argument of the rule, key=value; repeatable.")]
Config = Annotated[Path | None, typer.Option(help="A recipe in TOML; options given beside it come first.")]
Imports = Annotated[
    list[Path] | None, typer.Option("--import", help="A .py file with rules of your own; repeatable.", callback=_import)
]

# Of a recipe, as train and compare take them; rule and seed are each command's own.
RECIPE: dict[str, Any] = {
    "data": Data, "net": Net, "data_dir": DataDir, "label": Label, "scale": Scale, "task": Task, "encoding": Encoding,
    "categories": Categories, "missing": Missing, "val": Val, "act": Act, "dropout": Dropout, "bias": Bias,
    "init": Init, "loss": Loss, "epochs": Epochs, "lr": Rate, "momentum": Momentum, "batch": Batch,
    "schedule": Schedule, "weight_decay": Decay, "optimizer": Optimizer, "device": Device, "threads": Threads,
    "nesterov": Nesterov, "freeze": Freeze, "augment": Augment, "whiten": Whiten, "stream": Stream,
    "measure": Measure, "class_weight": ClassWeight,
}  # fmt: skip


def taking(options: Mapping[str, Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options in the place of its parameter ``recipe``, a dict of those that were given."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        parameters = []
        for name, own in inspect.signature(command).parameters.items():
            kinds = options if name == "recipe" else {name: hints[name]}
            default = None if name == "recipe" else own.default
            parameters += [own.replace(name=key, annotation=kind, default=default) for key, kind in kinds.items()]

        @wraps(command)
        def taken(**arguments: Any) -> None:
            recipe = given(**{key: arguments.pop(key) for key in options})
            command(recipe=recipe, **arguments)

        taken.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        taken.__annotations__ = {each.name: each.annotation for each in parameters}
        return taken

    return decorate


def given(**options: Any) -> dict[str, Any]:
    """The options that were given, by the recipe's keys; defaults live in ``Recipe`` alone."""
    kept = {key: value for key, value in options.items() if value is not None}
    if "categories" in kept:
        kept["categories"] = [name.strip() for name in kept["categories"].split(",") if name.strip()]
    if "measure" in kept:
        kept["probe"] = kept["measure"]
    return kept
