"""Folders of images: one folder a class to train on, any tree of them to predict from."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .convert import assemble
from .errors import DataError, printable, reading, suggest
from .pictures import IMAGE_SUFFIXES, Notes, read_images

_NO_IMAGES = "has no PNG or JPEG files, nor others that are read"
_SPLIT = ("train", "test", "val", "valid", "validation")
_NOTHING = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"}  # what systems leave behind


def read_folder(path: Path, *, seed: int = 0, build: Callable[..., Any] = assemble) -> Any:
    """x (N, C, H, W) from images in one folder a class, or in such folders below train/ and perhaps test/.

    All must have one size, be grey (C = 1) or RGB (C = 3), and 8 bits (uint8) or 16 of grey (float32 in [0, 1]).
    A train/ that holds images itself is a class. Hidden files are passed over; one `DataWarning` counts what else is
    left out, and why. `build` makes the data set of what was read. Raises `DataError`, naming file or folder, for an
    image that is damaged or unlike the first, a class without images, and a class in test/ that train/ lacks.
    """
    notes = Notes()
    train, test = _parts(path, notes)
    classes = tuple(class_folders(train))
    x, y = _read_classes(train, classes, notes)
    tested = _read_classes(test, classes, notes, tuple(x.shape[1:])) if test else None
    notes.tell(path)
    return build(printable(path.name), (x, y), tested, seed=seed, classes=tuple(map(printable, classes)))


def image_files(path: Path, notes: Notes) -> list[Path]:
    """The images of a folder and of all folders in it, sorted by path. Raises `DataError` where there are none."""
    files = sorted(_tree(path, notes, frozenset()))
    if not files:
        raise DataError(f"{path}: {_NO_IMAGES}; expected images to predict from; check the path")
    return files


def class_folders(path: Path) -> list[str]:
    """The names of the folders in `path`, sorted, hidden ones left out; raises `DataError` where there are none."""
    names = [entry.name for entry in _entries(path) if entry.is_dir()]
    if not names:
        raise DataError(f"{path}: has no folders in it; expected one for each class; sort the images into folders")
    return names


def class_files(path: Path, classes: Sequence[str], notes: Notes) -> tuple[list[Path], list[int]]:
    """The image files below the class folders of `path`, in the order of their names, and each one's class number.

    Raises `DataError` for a folder that is none of `classes` and one without images.
    """
    images: list[Path] = []
    labels: list[int] = []
    for name in class_folders(path):
        if name not in classes:
            raise DataError(f"{path / name}: class {name!r} has no training images; expected {suggest(name, classes)}")
        entries = _entries(path / name)
        files = [entry for entry in entries if _is_image(entry)]
        if not files:
            raise DataError(f"{path / name}: {_NO_IMAGES}; expected images of the class; add some or remove it")
        for entry in set(entries) - set(files):
            _leave_out(entry, notes)
        images += files
        labels += [classes.index(name)] * len(files)
    return images, labels


def _parts(path: Path, notes: Notes) -> tuple[Path, Path | None]:
    """The folders that hold the classes for training and for testing; the whole folder where it is not split."""
    images, folders = _contents(path)
    strays, classes = _contents(path / "train") if (path / "train").is_dir() else ([], [])
    others = [folder for folder in folders if folder.name not in _SPLIT]
    if path / "train" not in folders or (strays and (others or not classes)):
        notes.left["images beside the class folders"] += len(images)
        if folders and not others:
            notes.said.append(f"{' and '.join(f.name for f in folders)} hold images, so they are taken for classes")
        return path, None
    notes.left["images beside train/"] += len(images)
    notes.left["images beside the classes of train/"] += len(strays)
    notes.left["folders beside train/ and test/"] += len([f for f in folders if f.name not in ("train", "test")])
    return path / "train", path / "test" if path / "test" in folders else None


def _read_classes(
    path: Path, classes: Sequence[str], notes: Notes, shape: tuple[int, ...] | None = None
) -> tuple[Tensor, Tensor]:
    files, labels = class_files(path, classes, notes)
    like = "those for training are" if shape else "the first image is"
    return read_images(path, files, shape, like, notes), torch.tensor(labels)


def _tree(path: Path, notes: Notes, above: frozenset[Path]) -> Iterator[Path]:
    for entry in _entries(path):
        if not entry.is_dir():
            if _is_image(entry):
                yield entry
            else:
                _leave_out(entry, notes)
        elif entry.resolve() in above:
            notes.left["links to a folder around them"] += 1
        else:
            yield from _tree(entry, notes, above | {path.resolve()})


def _entries(path: Path) -> list[Path]:
    """What a folder holds, sorted, but for hidden files and what systems leave behind."""
    with reading(path, "a folder of images"):
        return sorted(e for e in path.iterdir() if not e.name.startswith(".") and e.name.lower() not in _NOTHING)


def _contents(path: Path) -> tuple[list[Path], list[Path]]:
    """(images, folders)"""
    entries = _entries(path)
    return [entry for entry in entries if _is_image(entry)], [entry for entry in entries if entry.is_dir()]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()


def _leave_out(path: Path, notes: Notes) -> None:
    if path.is_dir():
        notes.left["folders in a class"] += 1
    else:
        notes.unread[path.suffix.lower() or "without suffix"] += 1
