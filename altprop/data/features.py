"""Samples without labels, to predict from."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .dataset import check_finite
from .errors import DataError, reading
from .files import IMAGE_SUFFIXES, parse_features, read_arrays, read_image
from .frames import as_tensor, is_frame, read_frame
from .shapes import as_grey, check_shape


def read_features(path: Path, shape: tuple[int, ...], *, label: str = "label") -> Tensor:
    """x (N, *shape) from an .npz (x, x_test, or its one array), a .csv with a header (a column `label` is left out),
    an image, or a folder of images in the order of their names.

    Raises `DataError` for a file that cannot be read, values that are not finite, and samples of another shape.
    """
    with reading(path, "a .npz, .csv or image file, or a folder of images"):
        folder = path.stat() and path.is_dir()
    if folder:
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise DataError(f"{path}: has no PNG or JPEG files; expected some to predict from; check the path")
        x = torch.from_numpy(np.stack([read_image(file, None) for file in files]))
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        x = torch.tensor(read_image(path, None)[None])
    elif path.suffix.lower() == ".npz":
        x = _from_npz(path)
    elif path.suffix.lower() == ".csv":
        x = _from_csv(path, label)
    else:
        raise DataError(f"{path}: the suffix {path.suffix!r} is unknown; expected .npz, .csv, .png or .jpg; convert it")
    return read_samples(x, str(path), shape)


def read_samples(value: Any, where: str, shape: tuple[int, ...], names: Sequence[str] = ()) -> Tensor:
    """x (N, *shape) of an array, tensor, list or frame; the columns of a frame in the order of `names`, if there are.

    Raises `DataError` for samples of another shape, none at all, values that are not finite, a column that is missing.
    """
    x = as_grey(as_tensor(read_frame(value, where, names) if is_frame(value) else value, where), shape)
    check_shape(where, x.shape, shape)
    if not len(x):
        raise DataError(f"{where} holds no samples; expected at least one of shape {shape}; add some")
    check_finite(where, x)
    return x


def _from_npz(path: Path) -> Tensor:
    arrays = read_arrays(path)
    names = [name for name in ("x", "x_test", *arrays) if name in arrays]
    if not names or (names[0] not in ("x", "x_test") and len(arrays) > 1):
        raise DataError(f"{path}: holds {sorted(arrays)}; expected an array x of samples; rename it")
    return as_tensor(arrays[names[0]], f"{path}: {names[0]}")


def _from_csv(path: Path, label: str) -> Tensor:
    with reading(path, "a comma-separated table"), open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = [cell.strip() for cell in next(rows, [])]
        keep = [index for index, name in enumerate(header) if name != label]
        x = []
        for number, row in enumerate(filter(None, rows), start=1):
            where = f"{path}: row {number} (line {rows.line_num})"
            if len(row) != len(header):
                raise DataError(f"{where} has {len(row)} cells; expected {len(header)}, as the header has; mend it")
            x.append(parse_features(where, [row[index] for index in keep], [header[index] for index in keep]))
    if not x:
        raise DataError(f"{path}: has no rows below its header; expected at least one; add samples")
    return torch.from_numpy(np.stack(x))
