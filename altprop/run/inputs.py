"""What is done to inputs and targets before a net sees them: decided by recipe and data, from the training part."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from altprop.data import DATASETS, Dataset, DataWarning, as_float, far
from altprop.measure import fit_whitening
from altprop.run.recipe import Recipe


def preprocessed(data: Dataset, recipe: Recipe) -> Dataset:
    """The data set scaled and whitened as the recipe says, and where it says nothing by default: the columns of a table
    standardised, and so the targets of a regression; all else, and published data, as they are.

    One ``DataWarning`` tells of floats that come as they are and are far from what the default rates were found on."""
    published = data.name in DATASETS
    standard = bool(data.features) and not published and data.scaling is None
    scaled = data.scaled(recipe.scale or ("standard" if standard else "none"))
    if recipe.scale is None and recipe.whiten is None and not published and scaled.scaling is None:
        _warn_if_far(data)
    scaled = replace(scaled, raw=data.original)
    if not data.classes and recipe.loss in (None, "mse"):
        default = "none" if published or _binary(data) else "standard"
        scaled = scaled.targets_scaled(recipe.target_scale or default)
    return whitened(scaled, recipe.whiten)


def whitened(data: Dataset, kind: str | None) -> Dataset:
    """The data set with every part whitened by the statistics of its training part; None leaves it as it is."""
    if kind is None:
        return data
    whitening = fit_whitening(as_float(data.x_train), kind)
    parts: dict[str, Any] = {name: whitening.apply(as_float(x)).float() for name, x in data.inputs()}
    return replace(data, raw=data.original, whitening=(whitening.mean, whitening.matrix), **parts)


def _binary(data: Dataset) -> bool:
    """Whether every target is 0 or 1, and so in the range of most nets' outputs."""
    return bool(((data.y_train == 0) | (data.y_train == 1)).all())


def _warn_if_far(data: Dataset) -> None:
    what = far(data.x_train) if data.x_train.is_floating_point() else None
    if what is not None:
        advice = "give scale='standard' (--scale standard), or 'unit', or 'none' if they are meant so"
        told = f"{data.name}: the inputs are far from [0, 1] and from standardised ones: {what}; {advice}"
        warnings.warn(told, DataWarning, stacklevel=2)
