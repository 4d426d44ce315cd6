"""Readers of the user's own data: .npz archives, folders of images by class, and the way to that of .csv tables."""

import stat
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .convert import assemble
from .dataset import Dataset
from .errors import DataError, reading, suggest
from .table import read_csv

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_MODES = ("L", "RGB")


def read_file(
    path: Path, *, label: str = "label", seed: int = 0, val: float = 0.0, task: str | None = None, **table: Any
) -> Dataset:
    """The data set in an .npz or .csv file, or in a folder of images by class; without a test part a fifth is held out.

    `table` are the keywords of `read_csv` alone, None or empty elsewhere.
    Raises `DataError` for a path that does not exist, an unknown suffix, and what the reader refuses.
    """
    kinds = f"a {' or '.join(READERS)} file or a folder of images by class"
    with reading(path, kinds):
        folder = stat.S_ISDIR(path.stat().st_mode)
    if path.suffix.lower() not in TABLES or folder:
        refuse_table_options(str(path), table)
    if folder:
        return read_folder(path, seed=seed)
    if path.suffix.lower() not in READERS:
        came = f"the suffix {path.suffix!r} is unknown"
        raise DataError(f"{path}: {came}; expected {kinds}; convert it, or give tensors to from_torch")
    if path.suffix.lower() in TABLES:
        return read_csv(path, label=label, seed=seed, val=val, task=task, **table)
    return READERS[path.suffix.lower()](path, label=label, seed=seed, task=task)


def refuse_table_options(name: str, options: dict[str, Any]) -> None:
    """Raises `DataError` where one that only a table has use for came with other data."""
    for key, value in options.items():
        if value:
            raise DataError(f"{key} came with {name}, which is no .csv table; leave it out")


def read_npz(path: Path, *, label: str = "label", seed: int = 0, task: str | None = None) -> Dataset:
    """x_train, y_train, x_test, y_test, or the first two, or x, y, from an archive of arrays; nothing is unpickled.

    x (N, ...) uint8 or real; y (N,) whole numbers from 0 are labels, else targets (N,) or (N, K), unless `task` says
    otherwise. `label` is not used.
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
    return assemble(path.name, (arrays[train[0]], arrays[train[1]]), test, seed=seed, task=task)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz archive by name; nothing is unpickled. Raises `DataError` for anything else."""
    with reading(path, "an .npz archive"), open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{path}: is no .npz archive, or one cut short; expected one; write it with numpy.savez")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    return arrays


def read_folder(path: Path, *, seed: int = 0) -> Dataset:
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
    return assemble(path.name, pair, test, seed=seed, classes=classes)


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


TABLES = (".csv", ".tsv")
READERS: dict[str, Callable[..., Dataset]] = {".npz": read_npz, ".csv": read_csv, ".tsv": read_csv}
