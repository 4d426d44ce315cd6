"""What a run directory holds, whatever learned in it: a rule's net, or a search's champion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from altprop.core import Layer
from altprop.evolution.experiment import Evolved, load_search
from altprop.run import experiment
from altprop.run.result import Loaded


def is_search(run: str | Path) -> bool:
    """Whether a search has left this directory."""
    return (Path(run) / "task.json").is_file()


def load(run: str | Path, net: nn.Module | None = None, cuts: Sequence[Layer] | None = None) -> Loaded | Evolved:
    """Net and model of a run directory, on the CPU in eval mode: of a rule with the rule, ``net, rule = load(run)``; of
    a search the champion as an ordinary module, ``load(run).net``, which any rule can train on.

    net: an untrained copy of a net given from Python, and ``cuts`` its layers, where they were given too.
    Raises ``RunError`` for a path that is no run, or a damaged one."""
    return load_search(run, net=net) if is_search(run) else experiment.load(run, net, cuts)
