"""What a data set must be, each check one line that says what came, what was expected and what to do."""

from typing import Any

import torch
from torch import Tensor

from .errors import DataError
from .shapes import advice


def check_samples(where: str, x: Tensor, y: Tensor) -> None:
    """Raises `DataError` unless x is as `check_inputs` demands, and y as long."""
    check_inputs(where, x)
    if y.dim() < 1 or len(x) != len(y):
        came = f"{len(x)} samples and {len(y) if y.dim() else 1} labels or targets"
        raise DataError(f"{where} has {came}; give each sample exactly one")


def check_inputs(where: str, x: Tensor) -> None:
    """Raises `DataError` unless x is (N, ...) with N > 0, finite, uint8, int64, float32, float16 or bfloat16."""
    if x.dim() < 2:
        raise DataError(f"{where} has shape {tuple(x.shape)}; expected (N, features) or (N, C, H, W); reshape it")
    if x.numel() == 0:
        raise DataError(f"{where} is empty, of shape {tuple(x.shape)}; expected at least one sample; add some")
    if x.dtype not in (torch.uint8, torch.int64, torch.float32, torch.float16, torch.bfloat16):
        raise DataError(f"{where} is {x.dtype}; expected uint8 (pixels), float32 or int64 (tokens); convert it")
    check_finite(where, x)


def check_finite(where: str, values: Tensor) -> None:
    """Raises `DataError` with the row and column of the first NaN or infinity; whole numbers are not even read."""
    if not values.is_floating_point():
        return
    finite = values.isfinite()
    if not finite.all():
        row, *column = (~finite).nonzero()[0].tolist()
        at = f"row {row}, column {column[0] if len(column) == 1 else tuple(column)} (counted from 0)"
        came = values[(row, *column)].item()
        raise DataError(f"{where} is {came} at {at}; expected finite numbers; remove or fill it")


def check_alike(where: str, x: Tensor, x_train: Tensor) -> None:
    if x.shape[1:] != x_train.shape[1:] or x.dtype != x_train.dtype:
        came, expected = (f"{tuple(t.shape[1:])} {t.dtype}" for t in (x, x_train))
        same = x.shape[1:] == x_train.shape[1:]
        todo = "convert them" if same else advice(tuple(x.shape), tuple(x_train.shape[1:]))
        raise DataError(f"{where} has samples {came}; expected {expected}, as x_train; {todo}")


def check_labels(where: str, y: Tensor, dataset: Any) -> None:
    count = len(dataset.classes)
    if count < 2:
        came = f"only {count} class ({dataset.classes[0]})"
        raise DataError(f"{dataset.name}: has {came}; classification needs at least 2 classes; add samples of another")
    if y.dtype != torch.int64 or y.dim() != 1:
        came = f"{y.dtype} of shape {tuple(y.shape)}"
        raise DataError(f"{where} is {came}; expected int64 class labels (N,); convert it")
    outside = ((y < 0) | (y >= count)).nonzero().flatten()
    if len(outside):
        row = int(outside[0])
        came = f"{int(y[row])} in row {row} (counted from 0)"
        raise DataError(f"{where}: labels out of range: {came}; expected 0 to {count - 1}, as in training; correct it")


def check_targets(where: str, y: Tensor, dataset: Any) -> None:
    expected = dataset.y_train.shape[1:]
    if y.dtype != torch.float32 or y.dim() != 2 or y.shape[1:] != expected or not y.shape[1]:
        came = f"{y.dtype} of shape {tuple(y.shape)}"
        raise DataError(f"{where} is {came}; expected float32 targets (N, K), K alike in all parts; convert it")
    check_finite(where, y)
