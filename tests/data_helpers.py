"""Writers of tiny data files, each from its format's description, and a check of how errors are worded."""

import builtins
import pickle
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from altprop.data import DataError


@contextmanager
def refused(*words: object) -> Iterator[None]:
    """The block raises a DataError of one line that holds all `words`."""
    with pytest.raises(DataError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message and len(message) > 20
    for word in words:
        assert str(word) in message, f"{word!r} is not in: {message}"


def forbid(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Makes files so called unreadable, even for the administrator, whom no permission binds."""
    opened = builtins.open

    def forbidding(file, *args, **kwargs):
        if str(file).endswith(name):
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", forbidding)


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + bytes(array.astype(np.uint8).ravel().tolist())


def idx_files(n_train: int = 20, n_test: int = 10, size: int = 28) -> dict[str, bytes]:
    """The four files of an idx set: image i is filled with the value i, its label is i % 10."""
    files = {}
    for prefix, n in (("train", n_train), ("t10k", n_test)):
        images = np.arange(n).reshape(n, 1, 1) * np.ones((1, size, size), int)
        files[f"{prefix}-images-idx3-ubyte"] = idx_bytes(images)
        files[f"{prefix}-labels-idx1-ubyte"] = idx_bytes(np.arange(n) % 10)
    return files


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def cifar_images(n: int) -> np.ndarray:
    """(n, 3072): image i has i in its red, 100 + i in green, 200 + i in blue; its first red row counts columns."""
    planes = np.repeat(np.array([0, 100, 200]), 1024)[None] + np.arange(n)[:, None]
    planes[:, :32] = np.arange(32)
    return planes.astype(np.uint8)


def cifar10_files(n: int = 4, keys: type = bytes, protocol: int = 2) -> dict[str, bytes]:
    def key(text: str) -> str | bytes:
        return text.encode() if keys is bytes else text

    def batch(start: int) -> bytes:
        labels = [(start + i) % 10 for i in range(n)]
        return pickle.dumps({key("data"): cifar_images(n), key("labels"): labels}, protocol=protocol)

    names = [key(f"class{i}") for i in range(10)]
    files = {f"data_batch_{i}": batch(i) for i in range(1, 6)}
    return {
        **files,
        "test_batch": batch(6),
        "batches.meta": pickle.dumps({key("label_names"): names}, protocol=protocol),
    }


def cifar100_files(n: int = 4) -> dict[str, bytes]:
    def batch(start: int) -> bytes:
        fine = [(start + i) % 100 for i in range(n)]
        return pickle.dumps({b"data": cifar_images(n), b"fine_labels": fine, b"coarse_labels": [0] * n}, protocol=2)

    meta = {b"fine_label_names": [f"fine{i}".encode() for i in range(100)], b"coarse_label_names": [b"coarse"] * 20}
    return {"train": batch(95), "test": batch(3), "meta": pickle.dumps(meta, protocol=2)}
