"""What a net is trained on: what recipe and data decide is done to inputs and targets, whole numbers as the net takes
them, and what each training sample counts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Rule
from altprop.data import (
    AUGMENTATIONS,
    DATASETS,
    OF_ANY_SHAPE,
    DataError,
    Dataset,
    DataWarning,
    TableEncoding,
    as_float,
    combined,
    far,
    load,
)  # fmt: skip
from altprop.limits import nearest
from altprop.measure import fit_whitening
from altprop.rules import RULES
from altprop.run.recipe import Recipe, RunError
from altprop.suits import RULE

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
SQUARE = 8  # sequences of as many channels as positions, from this many on, are probably images


def first_embedding(net: nn.Module) -> Any:
    """The embedding that a net begins with, or None: the first of its modules with parameters decides."""
    first = next((module for module in net.modules() if next(module.parameters(recurse=False), None) is not None), None)
    return first if isinstance(first, EMBEDDINGS) else None


def suited(x: Tensor, net: nn.Module, where: str) -> Tensor:
    """x as that net takes it: whole numbers as int64 tokens where it begins with an embedding, else as floats.

    Raises ``DataError`` for tokens that are not whole, or not among the embedding's."""
    embedding = first_embedding(net)
    if embedding is None:
        return x.float() if x.dtype == torch.int64 else x
    if x.is_floating_point() and not bool((x == x.round()).all()):
        what = "holds fractions, but the net begins with an embedding"
        raise DataError(f"{where} {what}; expected tokens, whole numbers of int64; leave out scale, or change the net")
    low, high, count = int(x.min()), int(x.max()), embedding.num_embeddings
    if low < 0 or high >= count:
        what = f"holds tokens from {low} to {high}, but the net's embedding has {count}"
        raise DataError(
            f"{where} {what}; expected 0 to {count - 1}; give it num_embeddings={high + 1}, or renumber them"
        )
    return x.long()


def suited_data(data: Dataset, net: nn.Module) -> Dataset:
    """The data set with every x as ``suited`` makes it."""
    parts: dict[str, Any] = {name: suited(x, net, f"{data.name}: {name}") for name, x in data.inputs()}
    changed = any(parts[name] is not x for name, x in data.inputs())
    return replace(data, **parts) if changed else data


def load_data(recipe: Recipe, table: TableEncoding | None = None) -> Dataset:
    """The data that the recipe names, split, scaled and whitened as it says; with the columns of ``table``, if there
    is one, in their order."""
    data = load(
        recipe.data, data_dir=recipe.data_dir, label=recipe.label, val=recipe.val, seed=recipe.seed, task=recipe.task,
        encoding=recipe.encoding, categories=recipe.categories, missing=recipe.missing, table=table,
    )  # fmt: skip
    return preprocessed(data, recipe)


def preprocessed(data: Dataset, recipe: Recipe) -> Dataset:
    """The data set scaled and whitened as the recipe says, and where it says nothing by default: the columns of a table
    standardised, and so the targets of a regression; all else, and published data, as they are.

    One ``DataWarning`` tells of floats that come as they are and are far from what the default rates were found on."""
    published = data.name in DATASETS
    standard = bool(data.features) and not published and data.scaling is None
    usual = "standard" if RULES[recipe.rule].domain is None else "unit"  # a domain is that of rates, from 0 to 1
    scaled = data.scaled(recipe.scale or (usual if standard else "none"))
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


def example_of(shape: tuple[int, ...], net: nn.Module) -> Tensor:
    """One sample of zeros of the type that the net takes."""
    return torch.zeros(1, *shape, dtype=torch.int64 if first_embedding(net) is not None else torch.float32)


def check_square(recipe: Recipe, data: Dataset) -> None:
    """Raises ``RunError`` where a spec would run along the rows of what may be images without their channel axis."""
    side = data.shape[0]
    if len(data.shape) == 2 and data.shape[1] == side >= SQUARE and "conv" in (recipe.net or ""):
        what = (
            f"net '{recipe.net}' came for samples of shape {data.shape}, grey images or {side} channels of a sequence"
        )
        raise RunError(f"{what}: give images as x[:, None], or build the net of nn.Conv1d yourself for sequences")


def weigh(data: Dataset, recipe: Recipe, rule: Rule) -> Dataset:
    """The data set with the weights of its samples and classes combined, of mean 1 over the training part.

    Raises ``RunError`` where nothing that learns would hear of them, ``DataError`` for weights that do not fit."""
    if data.weights is None and recipe.class_weight is None:
        return data
    taught = any(phase.labels for phase in rule.phases())
    silent = recipe.readout.by != "descent" or not taught or recipe.arguments.get("supervised")
    if silent or not rule.weighs:
        what = f"weights came for rule '{recipe.rule}'" + (" without a readout by descent" if silent else "")
        raise RunError(f"{what}, which has no error that they could multiply: leave them out, or use '{RULE}'")
    return replace(data, weights=combined(data.weights, recipe.class_weight, data.classes, data.y_train))


def augmentation(recipe: Recipe, data: Dataset) -> Callable[[Tensor, torch.Generator], Tensor]:
    if recipe.augment is None:
        return lambda x, generator: x
    if recipe.augment not in AUGMENTATIONS:
        raise RunError(f"unknown augmentation '{recipe.augment}'{nearest(recipe.augment, AUGMENTATIONS)}")
    if len(data.shape) != 3 and recipe.augment not in OF_ANY_SHAPE:
        raise RunError(f"augment = '{recipe.augment}' came for samples of shape {data.shape}: it takes images")
    return AUGMENTATIONS[recipe.augment]


def views_by(recipe: Recipe) -> str | None:
    """The augmentation: that of the recipe, and of a rule that takes several views of a sample never none."""
    return recipe.augment or ("noise" if RULES[recipe.rule].claims.views > 1 else None)
