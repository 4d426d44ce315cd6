"""Pickled CIFAR batches, read without running anything that a pickle may name."""

import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .errors import DataError, reading

_BYTE_ORDERS: dict[str, Literal["<", ">", "|"]] = {"<": "<", ">": ">", "|": "|"}


class _Dtype:
    """Stands in for numpy.dtype: admits plain numbers, and of the pickled state only the byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.numpy = np.dtype(as_text(code))
        if self.numpy.kind not in "biuf":
            raise DataError(f"pickle holds an array of {self.numpy}; expected plain numbers; do not trust it")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.numpy = self.numpy.newbyteorder(_BYTE_ORDERS[as_text(state[1])])


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
            if not isinstance(content, dict):
                raise DataError(f"is a pickled {type(content).__name__}; expected a dictionary; get it again")
            values = {as_text(key): value for key, value in content.items()}
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        except MemoryError as error:
            raise DataError(f"{path}: claims more than fits into memory; the file is damaged, get it again") from error
    return {key: value.numpy if isinstance(value, _Array) else value for key, value in values.items()}


def as_text(value: Any) -> str:
    """Text, or its UTF-8; raises `DataError` for anything else, of which a pickle may have more than can be printed."""
    if not isinstance(value, (str, bytes)):
        raise DataError(f"holds a name that is {type(value).__name__}; expected text; it is damaged, get it again")
    return value.decode() if isinstance(value, bytes) else value
