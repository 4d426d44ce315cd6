"""The samples that a comparison may tune on: none that any of its runs is tested on.

Published data, and files with a test part, have one test part for all seeds.  Where each seed draws its own, the
samples of all of them are left out, so that what is tuned has seen none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from altprop.data import Dataset, TableEncoding
from altprop.run.experiment import dataset_of
from altprop.run.inputs import load_data, preprocessed
from altprop.run.recipe import Recipe, RunError

AS_IT_IS = {"scale": "none", "target_scale": "none", "whiten": None, "val": 0.0}


def tuning_data(recipe: Recipe, seeds: Sequence[int], given: Any, table: TableEncoding | None) -> Dataset:
    """What the recipe names, split into training and validation part by its own seed and share, without the samples
    that stand in the test part of one of these seeds.  Raises ``RunError`` where too few are left."""

    def plain(seed: int) -> Dataset:
        own = recipe.with_(seed=seed, **AS_IT_IS)
        return load_data(own, table) if given is None else dataset_of(given, own)

    whole = plain(recipe.seed)
    parts = [plain(seed) for seed in seeds]
    if all(len(one.x_test) == len(whole.x_test) and torch.equal(one.x_test, whole.x_test) for one in parts):
        return load_data(recipe, table) if given is None else dataset_of(given, recipe)
    tested = {key for one in parts for key in _keys(one.x_test)}
    kept = torch.tensor([key not in tested for key in _keys(whole.x_train)])
    if len(whole.y_train[kept].unique()) < len(whole.y_train.unique()) or kept.sum() < 2:
        what = f"only {int(kept.sum())} samples of {whole.name} are in the test part of none of {len(seeds)} seeds"
        raise RunError(f"{what}: give data with a test part of their own, or fewer --seeds")
    weights = None if whole.weights is None else whole.weights[kept]
    left = replace(whole, x_train=whole.x_train[kept], y_train=whole.y_train[kept], weights=weights)
    return preprocessed(left.split_validation(recipe.val, recipe.seed), recipe)


def _keys(x: Tensor) -> list[bytes]:
    """Of each sample its bytes: equal samples are one, wherever they stand."""
    rows = x.detach().cpu().contiguous().flatten(1).numpy()
    return [row.tobytes() for row in rows]
