"""Reader of STL-10: few labelled photographs and many without labels, in a plain binary layout."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .convert import assemble
from .dataset import Dataset
from .errors import DataError, check_room, reading

SHAPE = (3, 96, 96)
_BYTES = 3 * 96 * 96  # of one image
_CLASSES = 10


def stl10(folder: Path) -> Dataset:
    """STL-10 (Coates, Lee and Ng 2011) from its folder stl10_binary: (3, 96, 96) uint8, labels 0 to 9.

    x_unlabelled is a view of unlabeled_X.bin, of which a pixel is read when it is used and written to memory alone;
    None where that file is not there. Raises `DataError` for a file that is missing or cut short, a label outside
    1 to 10, and images and labels of different numbers.
    """
    names = read_class_names(folder / "class_names.txt")
    data = assemble("stl10", _read_part(folder, "train"), _read_part(folder, "test"), classes=names)
    unlabelled = folder / "unlabeled_X.bin"
    return replace(data, x_unlabelled=read_images(unlabelled)) if unlabelled.exists() else data


def read_images(path: Path) -> Tensor:
    """A view (N, 3, 96, 96) of the uint8 images of a file, which has each colour column by column."""
    with reading(path, "a file of images"):
        size = path.stat().st_size
        if size % _BYTES:
            came = f"holds {size} bytes, {size / _BYTES:.2f} images"
            raise DataError(f"{path}: {came}; expected {_BYTES} bytes for each; it is cut short, get it again")
        columns = np.memmap(path, np.uint8, mode="c", shape=(size // _BYTES, *SHAPE))  # (N, C, W, H)
    return torch.from_numpy(columns).transpose(2, 3)


def read_labels(path: Path) -> Tensor:
    """Labels (N,) int64 from 0, of a file that counts them from 1, a byte each."""
    with reading(path, "a file of labels"):
        labels = torch.from_numpy(np.fromfile(path, np.uint8)).long()
    outside = ((labels < 1) | (labels > _CLASSES)).nonzero().flatten()
    if len(outside):
        came = f"label {int(labels[outside[0]])} for image {int(outside[0])} (counted from 0)"
        raise DataError(f"{path}: holds {came}; expected 1 to {_CLASSES}; it is damaged, get it again")
    return labels - 1


def read_class_names(path: Path) -> tuple[str, ...]:
    """The names of the ten classes, one a line."""
    with reading(path, "a list of class names"):
        names = tuple(path.read_text(encoding="utf-8").split())
    if len(set(names)) != _CLASSES:
        raise DataError(f"{path}: names {len(set(names))} classes; expected {_CLASSES}, one a line; get it again")
    return names


def _read_part(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    x, y = read_images(folder / f"{part}_X.bin"), read_labels(folder / f"{part}_y.bin")
    check_room(folder / f"{part}_X.bin", f"its {len(x)} images take", x.numel(), "is it damaged? get it again")
    if len(x) != len(y):
        came = f"{len(x)} images for {len(y)} labels in {part}_y.bin"
        raise DataError(f"{folder / f'{part}_X.bin'}: holds {came}; expected one each; get both again")
    # Copied by rows, as training gathers them anew every epoch; the unlabelled ones are too many for that.
    return x.contiguous(), y
