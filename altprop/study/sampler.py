"""Optuna as studies use it: read when it is used, silent, and with draws that depend on a trial's place alone.

Each trial has a sampler of its own, seeded by the study's seed and the trial's place among those that were drawn, so
that a study that was stopped, killed or spread over processes draws what one that ran through would have drawn.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from altprop.run.recipe import RunError
from altprop.study.space import Dimension

NAME = "tree-structured Parzen estimator"  # Bergstra et al., Algorithms for hyper-parameter optimization, 2011
DRAWN = 5  # trials that are drawn at random before the estimator knows enough
AGAIN = "of"  # of a trial that takes up a dead one: whose values it has


def optuna() -> Any:
    """The package; raises ``RunError`` where it is not installed."""
    try:
        return import_module("optuna")
    except ModuleNotFoundError as error:
        what = f"tuning works by the package optuna, which is not here ({error})"
        raise RunError(f"{what}: install it with: pip install 'altprop[sweep]'") from error


@contextmanager
def silent() -> Iterator[Any]:
    """Optuna without its log of every trial and its warnings of what is new, for as long as this lasts."""
    package = optuna()
    before = package.logging.get_verbosity()
    package.logging.set_verbosity(package.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", package.exceptions.ExperimentalWarning)
            yield package
    finally:
        package.logging.set_verbosity(before)


def drawn(trial: Any, space: Mapping[str, Dimension], seed: int) -> dict[str, Any]:
    """The values of a trial that has begun: those that wait for it, or its sampler's."""
    trial.study.sampler = optuna().samplers.TPESampler(
        n_startup_trials=DRAWN, seed=(seed * 1_000_003 + place_of(trial)) % 2**32
    )
    return {key: dimension.suggest(trial, key) for key, dimension in space.items()}


def place_of(trial: Any) -> int:
    """How many trials of the study were drawn before, those not counted that took up dead ones."""
    others = trial.study.get_trials(deepcopy=False)
    return trial.number - sum(one.number < trial.number and AGAIN in one.user_attrs for one in others)
