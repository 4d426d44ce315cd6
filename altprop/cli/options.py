"""The options that several commands share, each with its help; their defaults live in ``Recipe`` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def given_of(**options: Any) -> dict[str, Any]:
    """The options that were given; defaults live in ``Recipe`` alone."""
    given = {key: value for key, value in options.items() if value is not None}
    if "categories" in given:
        given["categories"] = [name.strip() for name in given["categories"].split(",") if name.strip()]
    return given


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
Settings = Annotated[list[str] | None, typer.Option("--set", help="An argument of the rule, key=value; repeatable.")]
Config = Annotated[Path | None, typer.Option(help="A recipe in TOML; options given beside it come first.")]
Imports = Annotated[
    list[Path] | None, typer.Option("--import", help="A .py file with rules of your own; repeatable.", callback=_import)
]
