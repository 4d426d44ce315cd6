"""Samples without labels, to predict from."""

import csv
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .archives import read_arrays
from .convert import as_tensor
from .dataset import check_finite
from .errors import DataError, check_room, reading, user_path
from .files import parse_features
from .folders import image_files
from .pictures import IMAGE_SUFFIXES, Notes, read_images

KINDS = "a .npz, .csv or image file, or a folder of images"


def read_features(path: Path, shape: tuple[int, ...], *, label: str = "label") -> Tensor:
    """x (N, *shape) from an .npz (x, x_test, or its one array), a .csv with a header (a column `label` is left out),
    an image, or the images of a folder and of those in it (`image_names` names them).

    Raises `DataError` for a file that cannot be read, values that are not finite, and samples of another shape.
    """
    path = user_path(path)
    notes = Notes()
    files = _files(path, notes)
    if files:
        x = read_images(path, files, shape if len(shape) == 3 else None, "those of training are", notes)
        notes.tell(path)
    elif path.suffix.lower() == ".npz":
        x = _from_npz(path)
    elif path.suffix.lower() == ".csv":
        check_room(path, "the table takes", path.stat().st_size, "give fewer rows at a time")
        x = _from_csv(path, label)
    else:
        raise DataError(f"{path}: the suffix {path.suffix!r} is unknown; expected .npz, .csv, .png or .jpg; convert it")
    if not len(x) or x[0].numel() != torch.Size(shape).numel():
        came = f"{len(x)} samples of shape {tuple(x.shape[1:])}"
        raise DataError(f"{path}: holds {came}; expected shape {shape}, as in training; give the same features")
    check_finite(str(path), x)
    return x.reshape(-1, *shape)


def image_names(path: Path) -> list[str]:
    """The path of every image that `read_features` reads, in its order, relative to the folder `path`; none for arrays
    and tables."""
    path = user_path(path)
    return [(file.relative_to(path) if file != path else Path(file.name)).as_posix() for file in _files(path, Notes())]


def _files(path: Path, notes: Notes) -> list[Path]:
    with reading(path, KINDS):
        folder = path.stat() and path.is_dir()
    if folder:
        return image_files(path, notes)
    return [path] if path.suffix.lower() in IMAGE_SUFFIXES else []


def _from_npz(path: Path) -> Tensor:
    arrays = read_arrays(path)
    names = [name for name in ("x", "x_test", *arrays) if name in arrays]
    if not names or (names[0] not in ("x", "x_test") and len(arrays) > 1):
        raise DataError(f"{path}: holds {sorted(arrays)}; expected an array x of samples; rename it")
    x = as_tensor(arrays[names[0]], f"{path}: {names[0]}")
    return x if x.dtype == torch.uint8 else x.float()


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
