"""What an answer reaches that has learned nothing of the inputs: the largest class, or the mean of the targets."""

from __future__ import annotations

from torch import Tensor

from altprop.data import Dataset
from altprop.measure import regression_scores
from altprop.run.metrics import units_of


def trivial(data: Dataset) -> dict[str, float | None]:
    """Scores of the training part's most frequent class, or of the mean of its targets, on test and validation part.

    Classes: test_accuracy.  Multi-hot labels: each label as most samples have it.  Regression: test_r2, test_mae and
    test_rmse, in the targets' units."""
    scores: dict[str, float | None] = {}
    for part, y in (("test", data.y_test), ("val", data.y_val)):
        if y is not None:
            scores |= {f"{part}_{name}": value for name, value in _reached(data, y).items()}
    return scores


def _reached(data: Dataset, y: Tensor) -> dict[str, float | None]:
    if data.classes:
        return {"accuracy": float((y == data.y_train.bincount().argmax()).double().mean())}
    if data.multihot:
        answer = data.y_train.double().mean(0) > 0.5  # (K,)
        return {"accuracy": float(((y > 0.5) == answer).all(1).double().mean())}
    units = units_of(data)
    units = y.new_ones(y.shape[1]).double() if units is None else units  # (K,)
    y_hat = data.y_train.double().mean(0).expand(len(y), -1)
    return regression_scores(y_hat * units, y.double() * units)
