"""Samples without labels, to predict from."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from .archives import read_arrays
from .checks import check_finite
from .columns import TableEncoding, check_columns, encode_cells
from .dialect import read_sheet
from .errors import DataError, DataWarning, check_room, reading, user_path
from .files import TABLES
from .folders import image_files
from .frames import as_tensor, is_frame, read_frame
from .pictures import IMAGE_SUFFIXES, Notes, read_images
from .shapes import as_grey, check_shape

KINDS = "a .npz, .csv or image file, or a folder of images"


def read_features(
    path: Path,
    shape: tuple[int, ...],
    *,
    label: str = "label",
    table: TableEncoding | None = None,
    encoding: str | None = None,
    fallback: str | None = None,
) -> Tensor:
    """x (N, *shape) from an .npz (x, x_test, or its one array), a .csv with a header (a column `label` is left out),
    an image, or the images of a folder and of those in it (`image_names` names them).

    table: how the columns of the table of training became features, by which those of a .csv are found by name; without
    it, and in arrays, columns count by their place. encoding: of a .csv, else told from it, with `fallback` (cp1252)
    for one that is no UTF-8.
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
    elif path.suffix.lower() in TABLES:
        check_room(path, "the table takes", path.stat().st_size, "give fewer rows at a time")
        x = _from_csv(path, label, table, encoding, fallback)
    else:
        raise DataError(f"{path}: the suffix {path.suffix!r} is unknown; expected .npz, .csv, .png or .jpg; convert it")
    x = read_samples(x, str(path), shape)
    if (path.suffix.lower() in TABLES) != (table is not None):
        lacking = "training knew none" if table is None else "this file has none"
        told = f"columns were taken in their order and not by name, since {lacking}: see that it is the same"
        warnings.warn(f"{path}: {told}", DataWarning, stacklevel=2)
    return x


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
    return as_tensor(arrays[names[0]], f"{path}: {names[0]}")


def _from_csv(
    path: Path, label: str, table: TableEncoding | None, encoding: str | None, fallback: str | None
) -> Tensor:
    sheet = read_sheet(path, table.columns if table else (), encoding=encoding, fallback=fallback)
    names = list(sheet.columns)
    if table is not None:
        check_columns(table, names, sheet.place)
    if not len(sheet):
        raise DataError(f"{path}: has no rows below its header; expected at least one; add samples")
    if table is None:
        table = TableEncoding(tuple(name for name in names if name != label), {}, label)
    sheet = sheet.pointed(name for name in table.columns if name not in table.categories)
    return encode_cells(table, sheet.columns, names, sheet.place)
