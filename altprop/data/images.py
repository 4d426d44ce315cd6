"""Readers of the published image sets: idx files (MNIST and kin) and pickled batches (CIFAR)."""

import gzip
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from .convert import assemble
from .dataset import Dataset
from .errors import DataError, check_room, printable, reading
from .pickles import as_text, read_pickle

DIGITS = tuple("0123456789")
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

_IDX_UINT8 = 0x08
_GZIP = b"\x1f\x8b"


def mnist(folder: Path) -> Dataset:
    """MNIST (LeCun et al. 1998) from a folder of its four idx files, plain or gzipped: (1, 28, 28) uint8."""
    return _read_idx_set("mnist", folder, DIGITS)


def fashion_mnist(folder: Path) -> Dataset:
    """Fashion-MNIST (Xiao et al. 2017) from a folder of its four idx files, plain or gzipped: (1, 28, 28) uint8."""
    return _read_idx_set("fashion_mnist", folder, FASHION)


def cifar10(folder: Path) -> Dataset:
    """CIFAR-10 (Krizhevsky 2009) from its folder cifar-10-batches-py: (3, 32, 32) uint8."""
    train = [folder / f"data_batch_{i}" for i in range(1, 6)]
    names = _field(read_pickle(folder / "batches.meta"), "label_names", folder / "batches.meta")
    return _read_cifar("cifar10", train, folder / "test_batch", "labels", _names(names, folder / "batches.meta", 10))


def cifar100(folder: Path) -> Dataset:
    """CIFAR-100 (Krizhevsky 2009) with its fine labels, from its folder cifar-100-python: (3, 32, 32) uint8."""
    names = _field(read_pickle(folder / "meta"), "fine_label_names", folder / "meta")
    names = _names(names, folder / "meta", 100)
    return _read_cifar("cifar100", [folder / "train"], folder / "test", "fine_labels", names)


def read_idx(path: Path, dims: int) -> np.ndarray:
    """The uint8 array of an idx file, plain or gzipped, that must have `dims` dimensions.

    Raises `DataError` where the magic number, the dimensions or the length are not what the format says, and for what
    would not fit into memory.
    """
    start = 4 + 4 * dims
    with reading(path, "an idx file"):
        with open(path, "rb") as file:
            opener = gzip.open if file.read(2) == _GZIP else open
        with opener(path, "rb") as file:
            header = file.read(start)
            shape = struct.unpack(f">{dims}I", header[4:]) if len(header) == start else ()
            _check_magic(path, header[:4], dims)
            check_room(path, f"its shape {shape} takes", math.prod(shape), "it is damaged, get it again")
            # No more than is wanted: what a few bytes of gzip unpack to has no end. One more tells that there is more.
            data = bytearray(file.read(math.prod(shape) + 1))
    if not shape or len(data) != math.prod(shape):
        wanted = f"{start + math.prod(shape)} for shape {shape}" if shape else f"a header of {start}"
        came = f"{len(header) + len(data)} bytes" + " or more" * (bool(shape) and len(data) > math.prod(shape))
        raise DataError(f"{path}: holds {came}; expected {wanted}; it is cut short or damaged, get it again")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _check_magic(path: Path, magic: bytes, dims: int) -> None:
    expected = bytes((0, 0, _IDX_UINT8, dims))
    if magic != expected:
        came = f"starts with {magic.hex()}"
        raise DataError(f"{path}: {came}; expected {expected.hex()}, idx of bytes in {dims} dimensions; get it again")


def _read_idx_set(name: str, folder: Path, classes: tuple[str, ...]) -> Dataset:
    def part(prefix: str) -> tuple[np.ndarray, np.ndarray]:
        images = read_idx(find(folder, f"{prefix}-images-idx3-ubyte"), 3)
        return images[:, None], read_idx(find(folder, f"{prefix}-labels-idx1-ubyte"), 1)

    return assemble(name, part("train"), part("t10k"), classes=classes)


def find(folder: Path, file: str) -> Path:
    """`file` in `folder`, or else its gzipped form; the plain path where neither exists."""
    plain, zipped = folder / file, folder / f"{file}.gz"
    return zipped if zipped.is_file() and not plain.is_file() else plain


def _field(content: dict[str, Any], key: str, path: Path) -> Any:
    if key not in content:
        raise DataError(f"{path}: has no {key!r} among {sorted(content)}; is it another data set's file? get it again")
    return content[key]


def _names(names: Any, path: Path, count: int) -> tuple[str, ...]:
    """The names of the classes as text; raises `DataError` unless they are `count` different ones."""
    if not isinstance(names, (list, tuple)):
        raise DataError(f"{path}: names classes by {type(names).__name__}; expected {count} texts; get it again")
    odd = next((name for name in names if not isinstance(name, (str, bytes))), None)
    if odd is not None:
        raise DataError(f"{path}: names a class by {type(odd).__name__}; expected {count} texts; get it again")
    with reading(path, f"{count} class names in UTF-8"):
        texts = tuple(as_text(name) for name in names)
    if len(texts) != count or len(set(texts)) != count:
        came = f"{len(texts)} classes, {len(set(texts))} of them different"
        raise DataError(f"{path}: names {came}; expected {count}, no two alike; get it again")
    return tuple(map(printable, texts))


def _read_cifar(name: str, train: list[Path], test: Path, key: str, classes: tuple[str, ...]) -> Dataset:
    def batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
        content = read_pickle(path)
        x, y = _field(content, "data", path), _field(content, key, path)
        if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.shape[1:] != (3072,):
            came = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            raise DataError(f"{path}: holds data {came}; expected uint8 (N, 3072); get it again")
        return x.reshape(-1, 3, 32, 32), _labels(path, y, len(x))

    xs, ys = zip(*(batch(path) for path in train), strict=True)
    return assemble(name, (np.concatenate(xs), np.concatenate(ys)), batch(test), classes=classes)


def _labels(path: Path, y: Any, count: int) -> np.ndarray:
    listed = isinstance(y, list) or (isinstance(y, np.ndarray) and y.ndim == 1)
    if not listed or len(y) != count:
        came = f"{len(y)} labels" if listed else type(y).__name__
        raise DataError(f"{path}: holds {came} for {count} images; expected one each; get it again")
    for row, label in enumerate(y):
        if isinstance(label, bool) or not isinstance(label, (int, np.integer)) or abs(int(label)) >= 2**31:
            came = f"labels that are no numbers of classes: {type(label).__name__} in row {row} (counted from 0)"
            raise DataError(f"{path}: holds {came}; expected numbers from 0, one an image; get it again")
    return np.array([int(label) for label in y])
