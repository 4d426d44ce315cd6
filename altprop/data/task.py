"""Classes or amounts: what labels are taken for, and one line where that may be mistaken."""

import warnings

import torch
from torch import Tensor

from .cells import NUMBER, TASKS, short
from .errors import DataError, DataWarning

MANY, FEW = 20, 10  # more classes, and on average fewer samples of each: such whole numbers look like amounts


def are_labels(y: Tensor, task: str | None, where: str) -> bool:
    """Whether y are labels of classes, as whole numbers (N,) are, and not targets; `task` decides where it is given.

    Raises `DataError` for a classification of numbers with a fraction."""
    if task not in (None, *TASKS):
        raise DataError(f"task {task!r} is unknown; give one of these or None: {', '.join(TASKS)}")
    if task == "regression":
        return False
    whole = not y.is_floating_point() or bool(y.isfinite().all() and (y == y.round()).all())
    if task == "classification" and not whole:
        came = "numbers with a fraction, as amounts have"
        raise DataError(f"{where} has {came}; labels are whole numbers; give those, or leave task='classification' out")
    return task == "classification" or not y.is_floating_point() or (y.dim() == 1 and whole)


def tell_classes(name: str, y: Tensor, classes: tuple[str, ...], task: str | None) -> None:
    """One `DataWarning` where labels (N,) that nobody called classes look like amounts, or a class has one sample."""
    if task is not None or y.dim() != 1 or y.is_floating_point():
        return
    counts = torch.bincount(y.cpu(), minlength=len(classes))
    each = len(y) / max(1, len(classes))
    if len(classes) > MANY and each < FEW:
        came = f"the labels were taken for {len(classes)} classes of {each:.1f} samples each"
        told = f"{came}; {_otherwise(classes)}, else --task classification (in Python task=...)"
        warnings.warn(f"{name}: {told}", DataWarning, stacklevel=2)
    elif (counts == 1).any():
        alone = classes[int((counts == 1).nonzero()[0])]
        came = f"class {alone[:40]!r} has one sample, so that none is left to test it on"
        advice = "add samples, or if the labels are amounts give --task regression (in Python task='regression')"
        warnings.warn(f"{name}: {came}; {advice}", DataWarning, stacklevel=2)


def _otherwise(classes: tuple[str, ...]) -> str:
    text = next((name for name in classes if not NUMBER.fullmatch(name)), None)
    if text is None:
        return "if they are amounts, give --task regression"
    if any(NUMBER.fullmatch(name) for name in classes):
        return f"if they are amounts, correct {short(text)}, which is no number"
    return "if they are none, name another column by --label"
