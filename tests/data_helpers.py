"""Writers of tiny data files, each from its format's description, and a check of how errors are worded."""

import builtins
import hashlib
import io
import pickle
import random
import struct
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altprop.data import DataError
from altprop.data.download import SOURCES, Source
from altprop.data.imagenette import CLASSES


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
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
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


STL10_NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def stl10_files(train: tuple[int, ...] = (1, 10, 3), test: tuple[int, ...] = (2, 9), free: int = 2) -> dict[str, bytes]:
    """STL-10 with these labels, counted from 1, and `free` unlabelled images; every byte of an image is random."""
    noise = random.Random(0)
    files = {"class_names.txt": "".join(f"{name}\n" for name in STL10_NAMES).encode()}
    for part, labels in (("train", train), ("test", test)):
        files |= {f"{part}_X.bin": noise.randbytes(27648 * len(labels)), f"{part}_y.bin": bytes(labels)}
    return {**files, "unlabeled_X.bin": noise.randbytes(27648 * free)}


def picture_bytes(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """An image file of pixels (H, W) or (H, W, 3); PNG keeps each as it is."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def imagenette_files(n: int = 2, size: tuple[int, int] = (160, 160)) -> dict[str, bytes]:
    """n training images and 1 for validation a class: red tells the class, green the part, blue the image."""
    files = {}
    for label, wnid in enumerate(CLASSES):
        for part, count, green in (("train", n, 50), ("val", 1, 60)):
            for i in range(count):
                name = f"{part}/{wnid}/{wnid}_{i}.JPEG"
                files[name] = picture_bytes(np.ones((*size, 3)) * (10 * label, green, i))
    return files


@contextmanager
def serving() -> Iterator[tuple[str, dict, list[str]]]:
    """(address, files, asked): `files` are served; an int is a status, (bytes, length) claims that length."""
    files, asked = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            content = files.get(self.path, 404)
            if isinstance(content, int):
                self.send_error(content)
                return
            body, length = content if isinstance(content, tuple) else (content, len(content))
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}", files, asked
    httpd.shutdown()
    httpd.server_close()


def archive(folder: str, files: dict[str, bytes], *others: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in others:
            tar.addfile(member)
    return buffer.getvalue()


def registered(name: str, content: dict[str, bytes]) -> Source:
    """The source of `name` with the checksums of `content` in place of the published ones."""
    return replace(SOURCES[name], sha256={file: hashlib.sha256(data).hexdigest() for file, data in content.items()})


def serve(files, name, content):
    files.update({f"/{name}/{file}": data for file, data in content.items()})
