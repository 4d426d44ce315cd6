"""Readers of the published image sets: idx files (MNIST and kin) and pickled batches (CIFAR)."""

import gzip
import math
import pickle
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .convert import assemble
from .dataset import Dataset
from .errors import DataError, reading

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
    return _read_cifar("cifar10", train, folder / "test_batch", "labels", names)


def cifar100(folder: Path) -> Dataset:
    """CIFAR-100 (Krizhevsky 2009) with its fine labels, from its folder cifar-100-python: (3, 32, 32) uint8."""
    names = _field(read_pickle(folder / "meta"), "fine_label_names", folder / "meta")
    return _read_cifar("cifar100", [folder / "train"], folder / "test", "fine_labels", names)


def read_idx(path: Path, dims: int) -> np.ndarray:
    """The uint8 array of an idx file, plain or gzipped, that must have `dims` dimensions.

    Raises `DataError` where the magic number, the dimensions or the length are not what the format says.
    """
    with reading(path, "an idx file"):
        with open(path, "rb") as file:
            opener = gzip.open if file.read(2) == _GZIP else open
        with opener(path, "rb") as file:
            data = bytearray(file.read())
    magic = bytes(data[:4])
    expected = bytes((0, 0, _IDX_UINT8, dims))
    if magic != expected:
        came = f"starts with {magic.hex()}"
        raise DataError(f"{path}: {came}; expected {expected.hex()}, idx of bytes in {dims} dimensions; get it again")
    start = 4 + 4 * dims
    shape = struct.unpack(f">{dims}I", data[4:start]) if len(data) >= start else ()
    if not shape or len(data) != start + math.prod(shape):
        wanted = f"{start + math.prod(shape)} for shape {shape}" if shape else f"a header of {start}"
        raise DataError(f"{path}: holds {len(data)} bytes; expected {wanted}; it is cut short or damaged, get it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _read_idx_set(name: str, folder: Path, classes: tuple[str, ...]) -> Dataset:
    def part(prefix: str) -> tuple[np.ndarray, np.ndarray]:
        images = read_idx(find(folder, f"{prefix}-images-idx3-ubyte"), 3)
        return images[:, None], read_idx(find(folder, f"{prefix}-labels-idx1-ubyte"), 1)

    return assemble(name, part("train"), part("t10k"), classes=classes)


def find(folder: Path, file: str) -> Path:
    """`file` in `folder`, or else its gzipped form; the plain path where neither exists."""
    plain, zipped = folder / file, folder / f"{file}.gz"
    return zipped if zipped.is_file() and not plain.is_file() else plain


_BYTE_ORDERS: dict[str, Literal["<", ">", "|"]] = {"<": "<", ">": ">", "|": "|"}


class _Dtype:
    """Stands in for numpy.dtype: admits plain numbers, and of the pickled state only the byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.numpy = np.dtype(_text(code))
        if self.numpy.kind not in "biuf":
            raise DataError(f"pickle holds an array of {self.numpy}; expected plain numbers; do not trust it")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.numpy = self.numpy.newbyteorder(_BYTE_ORDERS[_text(state[1])])


class _Array:
    """Stands in for an array: its pickled state is read as shape, type and bytes, and no numpy code runs for a file."""

    def __init__(self, *_: Any) -> None:
        self.numpy = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.numpy = np.frombuffer(data, dtype.numpy).reshape(shape, order="F" if fortran else "C")


def _encode(text: str, _: str) -> bytes:
    return text.encode("latin1")


# A pickle may call anything that it names; these are all the names that a CIFAR batch needs. The class ndarray is only
# ever an argument of _reconstruct, hence nothing that could be called.
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle._Unpickler):  # in Python, since C's reserves memory for whatever number a damaged byte claims
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise DataError(
                f"pickle asks for {module}.{name}; expected only arrays; it may be malicious, do not use it"
            )
        return _ADMITTED[module, name]


def read_pickle(path: Path) -> dict[str, Any]:
    """A pickled dictionary of plain values and numeric arrays, its keys as text; nothing it names is run.

    Raises `DataError` for a pickle that names anything but arrays (the message says what), or is damaged.
    """
    with reading(path, "a pickled CIFAR batch"), open(path, "rb") as file:
        try:
            content = _Unpickler(file, encoding="bytes").load()
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        except MemoryError as error:
            raise DataError(f"{path}: claims more than fits into memory; the file is damaged, get it again") from error
        if not isinstance(content, dict):
            raise DataError(f"{path}: is a pickled {type(content).__name__}; expected a dictionary; get it again")
        return {_text(key): value.numpy if isinstance(value, _Array) else value for key, value in content.items()}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _field(content: dict[str, Any], key: str, path: Path) -> Any:
    if key not in content:
        raise DataError(f"{path}: has no {key!r} among {sorted(content)}; is it another data set's file? get it again")
    return content[key]


def _read_cifar(name: str, train: list[Path], test: Path, key: str, names: Any) -> Dataset:
    def batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
        content = read_pickle(path)
        x, y = _field(content, "data", path), _field(content, key, path)
        if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.shape[1:] != (3072,):
            came = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            raise DataError(f"{path}: holds data {came}; expected uint8 (N, 3072); get it again")
        if not isinstance(y, (list, np.ndarray)) or len(y) != len(x):
            came = f"{len(y)} labels" if isinstance(y, (list, np.ndarray)) else type(y).__name__
            raise DataError(f"{path}: holds {came} for {len(x)} images; expected one each; get it again")
        return x.reshape(-1, 3, 32, 32), np.asarray(y)

    xs, ys = zip(*(batch(path) for path in train), strict=True)
    return assemble(name, (np.concatenate(xs), np.concatenate(ys)), batch(test), classes=tuple(_text(n) for n in names))
