"""Pictures in a grid, as several panels show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor


def rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.flatten().tolist()]


def draw_pictures(places: Iterable[Any], receptive: Mapping[str, Any]) -> None:
    """One picture a place, each from its own least to its own greatest value; of channels that are no colours, their
    mean."""
    places = list(places)
    images = np.asarray(receptive["values"], dtype=float).reshape(receptive["shape"])
    images = images.mean(1) if images.ndim == 4 and images.shape[1] not in (1, 3) else images
    for axes in places:
        axes.set_axis_off()
    for axes, image in zip(places, images, strict=False):
        low, high = image.min(), image.max()
        image = (image - low) / (high - low or 1)
        axes.imshow(image.transpose(1, 2, 0) if image.ndim == 3 and len(image) == 3 else image.squeeze(), cmap="gray")
