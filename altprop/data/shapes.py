"""Shapes of samples: equal, or refused with what was probably done to the axes and the line that undoes it."""

from collections.abc import Sequence
from itertools import permutations
from math import prod

import torch
from torch import Tensor

from .errors import DataError

CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
SIDE, ASPECT = 8, 4  # floats are images from that side on (RGBA from twice it), up to that ratio of sides


def check_shape(where: str, shape: Sequence[int], expected: Sequence[int], whose: str = "as in training") -> None:
    """Raises `DataError`, recognising transpositions, unless x of that shape (N, ...) has samples of `expected`."""
    came, wanted = tuple(shape[1:]), tuple(expected)
    if came != wanted or not shape:
        what = f"samples of shape {came}" if shape else "a single number"
        raise DataError(f"{where} has {what}; expected {wanted}, {whose}; {advice(tuple(shape), wanted)}")


def advice(shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """What to do with x of that shape, where (N, *expected) is wanted."""
    came = shape[1:]
    if (order := _order(came, expected)) is not None:
        what = "the channels stand last" if order == (2, 0, 1) else "its axes stand in another order"
        return f"{what}: give x.transpose{(0, *(axis + 1 for axis in order))}"
    if shape == expected:
        return "it seems to be one sample without the batch axis: give x[None]"
    if (order := _order(shape, expected)) is not None:
        return f"it seems to be one sample whose axes stand in another order: give x.transpose{order}[None]"
    viewed = f"x.reshape{(-1, *expected)}"
    if (1, *came) == expected:
        return "the channel axis is missing: give x[:, None]"
    if _long(came) == _long(expected):
        return f"an axis of length 1 is {'missing' if len(came) < len(expected) else 'too many'}: give {viewed}"
    if _long(shape) == _long(expected):
        return f"it seems to be one sample without the batch axis: give {viewed}"
    if prod(came) != prod(expected):
        return "give the same features"
    if 1 in (len(came), len(expected)):
        return f"they are {'flat' if len(came) == 1 else 'not flat'}: give {viewed}, if that is the order of the values"
    return "these are as many values, but no order of the axes is that shape: give samples of the same sides"


def as_grey(x: Tensor, expected: Sequence[int] | None = None) -> Tensor:
    """Pixels (N, H, W) as grey images (N, 1, H, W), where these are `expected`; anything else as it is."""
    grey = x.dtype == torch.uint8 and x.dim() == 3 and (expected is None or tuple(expected) == (1, *x.shape[1:]))
    return x[:, None] if grey else x


def channels_last(shape: Sequence[int], pixels: bool) -> bool:
    """Whether a sample of that shape is an image (H, W, C), not (C, H, W): C is 1, 3 or 4 and no number of channels
    stands in front; floats, which may be features of any kind, must also be about as high as wide, and no icon."""
    if len(shape) != 3 or shape[2] not in CHANNELS or shape[0] in (1, 3, shape[2]):
        return False
    short, long = sorted(shape[:2])
    return pixels or (short >= (SIDE if shape[2] < 4 else 2 * SIDE) and long <= ASPECT * short)


def check_layout(where: str, shape: Sequence[int], pixels: bool) -> None:
    """Raises `DataError` for images whose channels stand last."""
    if channels_last(shape, pixels):
        came = f"samples of shape {tuple(shape)}, which look like images (height, width, channels)"
        sure = "" if pixels else "; if these are channels, height, width, make an altprop.data.Dataset of them yourself"
        raise DataError(f"{where} has {came}; expected (channels, height, width); give x.transpose(0, 3, 1, 2){sure}")


def _order(came: tuple[int, ...], expected: tuple[int, ...]) -> tuple[int, ...] | None:
    """The axes of `came` in the order that gives `expected`; of several the one that moves channels, else the first."""
    if sorted(came) != sorted(expected) or len(came) > 5 or came == expected:
        return None
    orders = permutations(range(len(came)))
    first = [(2, 0, 1)] if len(came) == 3 else []
    return next(order for order in (*first, *orders) if tuple(came[axis] for axis in order) == expected)


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side for side in shape if side > 1)
