"""What y means where it is no plain number: the classes of names, and rows of 0 and 1.

text, booleans, categories, whole numbers of a series   classes, by their names
rows (N, K) of 0 and 1, each with a single 1             classes, of any dtype ("one-hot")
other rows (N, K) of 0 and 1                             float targets of K independent labels ("multi-hot")
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .dataset import is_binary
from .errors import DataError
from .frames import as_tensor, is_frame, is_missing, is_series, only_column, plain, read_frame

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")

Encoded = tuple[Any, Any, tuple[str, ...] | None]  # y_train, y_test, the classes where they are known


def encode(train: Any, test: Any, name: str) -> Encoded:
    """y_train and y_test (or None) with names as class numbers, one-hot rows as classes, multi-hot rows as floats; all
    else as it came.  The training part decides what y is, and which classes there are.

    Raises `DataError` for labels that are missing or of several types, and for a test part that does not fit."""
    wheres = (f"{name}: y_train", f"{name}: y_test")
    train, test = (only_column(part, where) for part, where in zip((train, test), wheres, strict=True))
    words = _words(train, wheres[0])
    if words is not None:
        classes = _ordered(train, words)
        others = None if test is None else _words(test, wheres[1], numbers=True)
        if test is not None and others is None:
            raise DataError(
                f"{wheres[1]}: holds no labels; expected such as {classes[0]!r}, as in training; convert it"
            )
        numbers = [
            None if part is None else _numbered(part, classes, where)
            for part, where in zip((words, others), wheres, strict=True)
        ]
        return numbers[0], numbers[1], classes
    return _rows(train, test, wheres)


def _rows(train: Any, test: Any, wheres: Sequence[str]) -> Encoded:
    y = as_tensor(train, wheres[0])
    if y.dim() != 2 or y.shape[1] < 2 or not is_binary(y):
        return train, test, None
    single = bool((y.sum(1) == 1).all())
    tested = None if test is None else as_tensor(test, wheres[1])
    if tested is not None:
        fits = (tested == 0) | (tested == 1)
        fits = (
            fits.all(1) & ((tested.sum(1) == 1) | (not single))
            if tested.shape[1:] == y.shape[1:]
            else fits.flatten()[:0]
        )
        if len(fits) < len(tested) or not fits.all():
            where = f" in row {int((~fits).nonzero()[0])} (counted from 0)" if len(fits) == len(tested) else ""
            came = f"is {'not one-hot' if single else 'not 0 or 1'}{where}, of shape {tuple(tested.shape)}"
            raise DataError(f"{wheres[1]} {came}; expected rows as y_train has, (N, {y.shape[1]}); correct it")
    if not single:
        return y.float(), None if tested is None else tested.float(), None
    names = read_frame(train, wheres[0]).names if is_frame(train) else ()
    classes = names or tuple(map(str, range(y.shape[1])))
    return y.argmax(1), None if tested is None else tested.argmax(1), classes


def _words(value: Any, where: str, numbers: bool = False) -> list[str] | None:
    """The name of every label (N,) or (N, 1); None where they are numbers, those of a series or, asked for, others
    excepted if they are whole."""
    if value is None or is_frame(value):
        return None
    array = plain(value, where)
    if isinstance(array, Tensor):
        array = (array if array.dtype == torch.bool else as_tensor(array, where)).numpy(force=True)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "bOUT" else array
    if array.ndim != 1 or array.dtype.names:
        return None
    if array.dtype.kind in "biuf":
        named = numbers or is_series(value) or array.dtype.kind == "b"
        whole = array.dtype.kind != "f" or bool(np.isfinite(array).all() and (array == np.round(array)).all())
        return (
            [str(label if isinstance(label, bool) else int(label)) for label in array.tolist()]
            if named and whole
            else None
        )
    if array.dtype.kind not in "OUT":
        return None
    items = list(value) if isinstance(value, list) and array.dtype.kind == "U" else array.tolist()
    return _named(items, where, _categories(value) is not None)


def _named(items: list[Any], where: str, categorical: bool) -> list[str]:
    missing = next((row for row, item in enumerate(items) if is_missing(item) or str(item) in ("", "nan")), None)
    if missing is not None:
        raise DataError(
            f"{where}: row {missing} (counted from 0) has no label; expected one; fill it in or drop the row"
        )
    kinds = sorted({type(item).__name__ for item in items})
    if not categorical and (len(kinds) > 1 or not isinstance(items[0], str | bool)):
        came = f"{' and '.join(kinds[:4])}, such as {str(items[0])[:40]!r}"
        raise DataError(f"{where} holds {came}; expected labels of one type, text or numbers; convert them")
    return [str(item) for item in items]


def _categories(value: Any) -> list[str] | None:
    """The names of a categorical series' categories, in their order."""
    categories = getattr(getattr(value, "dtype", None), "categories", None) if is_series(value) else None
    return [str(category) for category in categories] if hasattr(categories, "to_list") else None  # type: ignore[union-attr]


def _ordered(value: Any, words: list[str]) -> tuple[str, ...]:
    """The classes that occur: in the order of their categories, of their values, or of the alphabet."""
    present = set(words)
    order = _categories(value) or sorted(present, key=int if all(map(_WHOLE.fullmatch, present)) else str)
    return tuple(name for name in order if name in present)


def _numbered(words: list[str], classes: Sequence[str], where: str) -> Tensor:
    number = {name: index for index, name in enumerate(classes)}
    unknown = next((row for row, word in enumerate(words) if word not in number), None)
    if unknown is not None:
        came = f"{words[unknown][:40]!r} in row {unknown} (counted from 0)"
        known = ", ".join(map(repr, classes[:10])) + (", ..." if len(classes) > 10 else "")
        raise DataError(f"{where}: labels out of range: {came}; expected one of {known}, as in training; correct it")
    return torch.tensor([number[word] for word in words])
