"""One trial: a recipe trained on the training part without its validation part, and judged by the latter alone.

The validation part stands where a run has its test part, so that the test part of the data is not even at hand.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from altprop.core import Refused
from altprop.data import DataError, Dataset, TableEncoding
from altprop.measure.missing import reason
from altprop.run.experiment import dataset_of, run_recipe
from altprop.run.inputs import load_data
from altprop.run.recipe import Recipe, RunError
from altprop.run.train import Diverged
from altprop.study.keys import changes

VAL = 0.1  # of the training part, held out where nobody says how much
WORST = -math.inf  # what a trial counts that has diverged
UNWATCHED = {"measure": False, "probe": False}
Report = Callable[[float, int], None]  # hears of each epoch: what the trial would be judged by now, and its number


class Judged(NamedTuple):
    """What a trial reached on the validation part."""

    value: float  # accuracy, of a regression R2; ``WORST`` where it did not end
    told: str = ""  # why it did not
    epochs: int = 0  # that it was trained


class Samples:
    """The data of trials, of which those that were asked last are kept: scaled and whitened as each recipe says."""

    def __init__(self, given: Any = None, table: TableEncoding | None = None) -> None:
        self.given, self.table = given, table
        self.last: tuple[tuple[Any, ...], Dataset] | None = None

    def of(self, recipe: Recipe) -> Dataset:
        """Raises as ``load_data`` does, and ``RunError`` where nothing can be held out."""
        key = (recipe.seed, recipe.val, recipe.scale, recipe.whiten)
        if self.last is None or self.last[0] != key:
            whole = load_data(recipe, self.table) if self.given is None else dataset_of(self.given, recipe)
            self.last = key, without_test(whole)
        return self.last[1]


def without_test(data: Dataset) -> Dataset:
    """The data set with its validation part in the place of the test part."""
    if data.x_val is None or data.y_val is None:
        raise RunError(f"{data.name} has no validation part to judge trials by: give val, such as --val 0.1")
    return replace(data, x_test=data.x_val, y_test=data.y_val, x_val=None, y_val=None)


def share(recipe: Recipe, given: Any) -> float:
    """Of the training part that is held out: as the recipe says, and where it says nothing a tenth; nothing more of
    data that bring a validation part of their own."""
    own = isinstance(given, Dataset) and given.x_val is not None
    return recipe.val or (0.0 if own else VAL)


def judged(recipe: Recipe, values: Mapping[str, Any], samples: Samples, report: Report | None = None) -> Judged:
    """The recipe with these values, trained and judged.  One that diverges, or that cannot be run so, is the worst."""
    epochs = 0

    def heard(row: Mapping[str, Any]) -> None:
        nonlocal epochs
        epochs = row["epoch"]
        if report is not None and row["test_loss"] is not None:
            accuracy = row["test_accuracy"]
            report(-row["test_loss"] if accuracy is None else accuracy, epochs)

    try:
        own = recipe.with_(**changes(recipe, values))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said by the runs that the best values are for
            result = run_recipe(own, samples.of(own), report=heard)
    except Diverged as error:
        return Judged(WORST, f"diverged {error.where}", epochs)
    except (Refused, RunError, DataError, RuntimeError) as error:
        if isinstance(error.__cause__, OSError):  # a full disk is full for the others as well
            raise
        return Judged(WORST, f"failed: {reason(error)}", epochs)
    reached = result.scores.get("r2", result.test_accuracy)
    return Judged(WORST, "its score is not known", epochs) if reached is None else Judged(reached, "", epochs)
