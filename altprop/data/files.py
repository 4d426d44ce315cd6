"""Readers of the user's own data: .npz archives, .csv tables, folders of images by class."""

import csv
import stat
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .convert import assemble
from .dataset import Dataset
from .errors import DataError, reading, suggest

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_MODES = ("L", "RGB")
Build = Callable[..., Any]  # of name, train and test part: a `Dataset` as by `assemble`, or `Labelled` samples


def read_file(path: Path, *, label: str = "label", seed: int = 0, build: Build = assemble) -> Dataset:
    """The data set in an .npz or .csv file, or in a folder of images by class; without a test part a fifth is held out.

    `build` makes it of what was read, here and in the readers: by default `assemble`.

    Raises `DataError` for a path that does not exist, an unknown suffix, and what the reader refuses.
    """
    kinds = f"a {' or '.join(READERS)} file or a folder of images by class"
    with reading(path, kinds):
        folder = stat.S_ISDIR(path.stat().st_mode)
    if folder:
        return read_folder(path, seed=seed, build=build)
    if path.suffix.lower() not in READERS:
        came = f"the suffix {path.suffix!r} is unknown"
        raise DataError(f"{path}: {came}; expected {kinds}; convert it, or give tensors to from_torch")
    return READERS[path.suffix.lower()](path, label=label, seed=seed, build=build)


def read_npz(path: Path, *, label: str = "label", seed: int = 0, build: Build = assemble) -> Dataset:
    """x_train, y_train, x_test, y_test, or the first two, or x, y, from an archive of arrays; nothing is unpickled.

    x (N, ...) uint8 or real; y (N,) whole numbers from 0 are labels, else targets (N,) or (N, K). `label` is not used.
    Raises `DataError` for another archive or other names in it, for objects, and for what `Dataset` refuses.
    """
    arrays = read_arrays(path)
    train = next((pair for pair in (("x_train", "y_train"), ("x", "y")) if arrays.keys() >= set(pair)), None)
    tested = {"x_test", "y_test"} & arrays.keys()
    if train is None or len(tested) == 1:
        raise DataError(
            f"{path}: holds {sorted(arrays)}; expected x_train, y_train, x_test, y_test, or x, y; rename them"
        )
    test = (arrays["x_test"], arrays["y_test"]) if tested else None
    return build(path.name, (arrays[train[0]], arrays[train[1]]), test, seed=seed)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz archive by name; nothing is unpickled. Raises `DataError` for anything else."""
    with reading(path, "an .npz archive"), open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{path}: is no .npz archive, or one cut short; expected one; write it with numpy.savez")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    return arrays


def read_csv(path: Path, *, label: str = "label", seed: int = 0, build: Build = assemble) -> Dataset:
    """Numeric columns (N, features) float32 and the column `label`, from a comma-separated table with a header.

    Labels are whole numbers ("3.0" too) or text, both sorted into classes; numbers with a fraction are a regression
    target. Raises `DataError`, naming data row, line and column, for a cell that is empty, text, NaN or infinite, a row
    of another length, or a label column that is not there.
    """
    with reading(path, "a comma-separated table"), open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        try:
            header = _header(path, next(rows, []), label)
            column = header.index(label)
            names = header[:column] + header[column + 1 :]
            x, labels = [], []
            for number, row in enumerate(filter(None, rows), start=1):
                where = f"{path}: row {number} (line {rows.line_num})"
                if len(row) != len(header):
                    raise DataError(f"{where} has {len(row)} cells; expected {len(header)}, as the header has; mend it")
                labels.append(_label(f"{where}, column {label!r}", row.pop(column).strip()))
                x.append(parse_features(where, row, names))
        except csv.Error as error:
            raise DataError(f"{path}: line {rows.line_num}: {error}; expected comma-separated text; mend it") from error
    if not x:
        raise DataError(f"{path}: has a header but no rows; expected at least one; add samples")
    y, classes = _classes(labels)
    data = build(path.name, (np.stack(x), y), None, seed=seed, classes=classes)
    return replace(data, features=tuple(names))


def _header(path: Path, cells: list[str], label: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    if label not in header:
        came = f"the header has no column {label!r}"
        raise DataError(f"{path}: {came}; expected one with the labels; name it by label=; {suggest(label, header)}")
    twice = next((name for name in header if header.count(name) > 1), None) if len(set(header)) < len(header) else None
    if twice is not None:
        raise DataError(f"{path}: column {twice!r} stands twice in the header; expected different names; rename one")
    if len(header) < 2:
        raise DataError(f"{path}: has no column but {label!r}; expected features beside it; is it separated by commas?")
    return header


def _label(where: str, cell: str) -> str:
    if cell.lower().lstrip("+-") in ("", "nan", "inf", "infinity"):
        raise DataError(f"{where}: {cell!r} is no label; expected a number or text; fill in the cell or remove the row")
    return cell


def parse_features(where: str, cells: list[str], names: list[str]) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            values = np.fromiter(map(float, cells), np.float64, len(cells)).astype(np.float32)
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all():
        name, cell = next((n, c) for n, c in zip(names, cells, strict=True) if not _is_finite(c))
        came = f"{cell!r} is no finite number" if cell.strip() else "the cell is empty"
        raise DataError(f"{where}, column {name!r}: {came}; expected a number; correct the cell or remove the row")
    return values


def _is_finite(cell: str) -> bool:
    try:
        return bool(abs(float(cell)) <= float(np.finfo(np.float32).max))
    except ValueError:
        return False


def _classes(labels: list[str]) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Class indices (N,) with the names of the classes, or targets (N, 1) where labels are numbers with a fraction."""
    try:
        values = np.array([float(label) for label in labels])
    except ValueError:
        names, y = np.unique(labels, return_inverse=True)
        return y, tuple(str(name) for name in names)
    if (values != np.round(values)).any():
        return values[:, None], None
    numbers, y = np.unique(values, return_inverse=True)
    return y, tuple(str(int(number)) for number in numbers)


def read_folder(path: Path, *, seed: int = 0, build: Build = assemble) -> Dataset:
    """uint8 (N, C, H, W) from PNG and JPEG files in one folder a class, or such folders below train/ and perhaps test/.

    All images must have one size and one mode, L (C = 1) or RGB (C = 3); files of other kinds are left alone.
    Raises `DataError`, naming file or folder, for an image that is damaged or unlike the first, a class without images,
    and a class in test/ that train/ lacks.
    """
    train = path / "train" if (path / "train").is_dir() else path
    tested = train != path and (path / "test").is_dir()
    classes = tuple(class_folders(train))
    pair = _read_classes(train, classes)
    test = _read_classes(path / "test", classes) if tested else None
    return build(path.name, pair, test, seed=seed, classes=classes)


def class_folders(path: Path) -> list[str]:
    """The names of the folders in `path`, sorted, hidden ones left out; raises `DataError` where there are none."""
    with reading(path, "a folder of images by class"):
        names = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"{path}: has no folders in it; expected one for each class; sort the images into folders")
    return names


def class_files(path: Path, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """The image files below the class folders of `path`, in the order of their names, and each one's class number.

    Raises `DataError` for a folder that is none of `classes` and one without images.
    """
    images: list[Path] = []
    labels: list[int] = []
    for name in class_folders(path):
        if name not in classes:
            raise DataError(f"{path / name}: class {name!r} has no training images; expected {suggest(name, classes)}")
        with reading(path / name, "a folder of images"):
            files = sorted(file for file in (path / name).iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise DataError(
                f"{path / name}: has no PNG or JPEG files; expected images of the class; add some or remove it"
            )
        images += files
        labels += [classes.index(name)] * len(files)
    return images, labels


def _read_classes(path: Path, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    files, labels = class_files(path, classes)
    images = [read_image(files[0], None)]
    images += [read_image(file, images[0].shape) for file in files[1:]]
    return np.stack(images), np.array(labels)


def read_image(path: Path, expected: tuple[int, ...] | None) -> np.ndarray:
    with reading(path, "a PNG or JPEG image"), Image.open(path, formats=("PNG", "JPEG")) as image:
        mode, pixels = image.mode, np.asarray(image)
    if mode not in _MODES:
        raise DataError(f"{path}: has mode {mode}; expected L (grey) or RGB; convert it, as by Image.convert('RGB')")
    pixels = pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)
    if expected and pixels.shape != expected:
        came = f"{mode} of (C, H, W) = {pixels.shape}"
        raise DataError(f"{path}: is {came}; expected {expected}, as the first image is; resize or convert it")
    return pixels


READERS: dict[str, Callable[..., Dataset]] = {".npz": read_npz, ".csv": read_csv}
