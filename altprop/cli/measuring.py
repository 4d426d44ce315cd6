"""The commands that measure rules on this machine; like those of ``app`` they import what they run when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from altprop.cli.options import Imports, Json
from altprop.cli.telling import print_result


def bench(
    rules: Annotated[str | None, typer.Option(help="Comma-separated [those of each case].")] = None,
    net: Annotated[list[str] | None, typer.Option(help="A net's spec; repeatable [four usual nets].")] = None,
    shape: Annotated[str, typer.Option(help="Of a sample, where a net begins with a convolution.")] = "3x32x32",
    batch: Annotated[int | None, typer.Option(min=1, help="[64; 100 for the usual convolution]")] = None,
    rounds: Annotated[int, typer.Option(min=2, help="In each of which everything has its turn.")] = 15,
    choose: Annotated[
        bool, typer.Option("--choose", help="First measure which library multiplies faster here, and keep that.")
    ] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Time the steps of train --compile.")] = False,
    imports: Imports = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Time a step of each rule against loss.backward(), and against its own products alone, its floor."""
    from altprop.cli import benching

    print_result(benching.bench(rules, net or [], shape, batch, rounds, choose, compiled), as_json, "benchmark")


def profile(
    rule: str,
    net: Annotated[str, typer.Option(help="Its spec.")] = "784-1024-1024-1024-10",
    shape: Annotated[str, typer.Option(help="Of a sample, where a net begins with a convolution.")] = "3x32x32",
    batch: Annotated[int, typer.Option(min=1)] = 64,
    depths: Annotated[str | None, typer.Option(help="Memory over depth, such as 2,4,8,16 layers, too.")] = None,
    figure: Annotated[Path | None, typer.Option(help="An SVG to draw memory over --depths into.")] = None,
    imports: Imports = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Memory of a step by its parts beside backpropagation's, and what its layers compute and move."""
    from altprop.cli import benching

    print_result(benching.profile(rule, net, shape, batch, depths, figure), as_json, "profile")
