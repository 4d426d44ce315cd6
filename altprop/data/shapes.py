"""Shapes of samples: equal, or refused."""

from collections.abc import Sequence

from .errors import DataError


def check_shape(where: str, shape: Sequence[int], expected: Sequence[int], whose: str = "as in training") -> None:
    """Raises `DataError` unless x of that shape (N, ...) has samples of the shape `expected`."""
    came, wanted = tuple(shape[1:]), tuple(expected)
    if came != wanted or not shape:
        advice = "give x[None], a batch of one sample" if tuple(shape) == wanted else "give the same features"
        raise DataError(f"{where} has samples of shape {came}; expected {wanted}, {whose}; {advice}")
