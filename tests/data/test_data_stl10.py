"""STL-10's reader, against the bytes of files in the published layout, one by one."""

import warnings

import pytest
import torch
from data_helpers import STL10_NAMES, refused, stl10_files, write_files

from altprop.data import batches, load
from altprop.data.stl10 import stl10

IMAGE = 3 * 96 * 96


@pytest.fixture
def stl(tmp_path):
    write_files(tmp_path / "stl10_binary", stl10_files())
    return tmp_path


def decode(content):
    """Nested lists [image][channel][row][column]: the file has one column after the other."""
    images = [content[start : start + IMAGE] for start in range(0, len(content), IMAGE)]
    return [
        [[[image[9216 * c + 96 * column + row] for column in range(96)] for row in range(96)] for c in range(3)]
        for image in images
    ]


def test_every_pixel_and_label_against_the_bytes(stl):
    """Rows taken for columns, channels interleaved, labels left to count from 1, parts exchanged."""
    data, files = load("stl10", data_dir=stl), stl10_files()
    for name, x in (("train", data.x_train), ("test", data.x_test), ("unlabeled", data.x_unlabelled)):
        assert x.dtype == torch.uint8 and x.tolist() == decode(files[f"{name}_X.bin"])
    assert data.y_train.tolist() == [0, 9, 2] and data.y_test.tolist() == [1, 8]
    assert (data.name, data.shape, data.classes, data.net) == ("stl10", (3, 96, 96), STL10_NAMES, "27648-256-10")


@pytest.mark.parametrize("place", ["stl10_binary", "."])
def test_places(tmp_path, place):
    """The folder itself given as the data folder would be downloaded again, 2.6 GB."""
    write_files(tmp_path / "stl10_binary", stl10_files())
    assert len(load("stl10", data_dir=tmp_path / place).x_train) == 3


def test_unlabelled_images_are_read_when_they_are_used(stl, monkeypatch):
    """A copy at load, or a search of bytes for infinities, would read 2.8 GB."""

    def reads(_):
        raise AssertionError("bytes are always finite")

    monkeypatch.setattr(torch.Tensor, "isfinite", reads)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = load("stl10", data_dir=stl).x_unlabelled
    assert x.shape == (2, 3, 96, 96) and x.stride() == (IMAGE, 9216, 1, 96)
    with open(stl / "stl10_binary" / "unlabeled_X.bin", "r+b") as file:
        file.seek(IMAGE + 2 * 9216 + 96 * 5 + 7)
        file.write(b"\x2a")
        file.flush()
        assert x[1, 2, 7, 5] == 0x2A


def test_writing_to_unlabelled_images_spares_the_file(stl):
    """A map that is written through would spoil the data set for good."""
    load("stl10", data_dir=stl).x_unlabelled.zero_()
    assert (stl / "stl10_binary" / "unlabeled_X.bin").read_bytes() == stl10_files()["unlabeled_X.bin"]


def test_training_images_lie_row_by_row(stl):
    """Gathering and flattening strided images would cost every epoch anew, or fail in a net that takes a view."""
    data = load("stl10", data_dir=stl)
    assert data.x_train.is_contiguous() and data.x_test.is_contiguous()
    ((x, _),) = batches(data.x_unlabelled, torch.zeros(2), 2)
    assert torch.equal((x.view(2, -1) * 255).round().byte(), data.x_unlabelled.reshape(2, -1))


def test_unlabelled_images_may_be_missing(stl):
    """Who only trains with labels need not keep 2.8 GB."""
    (stl / "stl10_binary" / "unlabeled_X.bin").unlink()
    data = load("stl10", data_dir=stl)
    assert data.x_unlabelled is None and len(data.x_train) == 3


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        ("train_X.bin", lambda b: b[:-1], ["82943 bytes", "27648 bytes for each", "cut short"]),
        ("unlabeled_X.bin", lambda b: b[:40000], ["40000 bytes, 1.45 images", "cut short"]),
        ("test_X.bin", lambda b: b[:IMAGE], ["1 images for 2 labels in test_y.bin", "one each"]),
        ("train_X.bin", lambda b: b + b[:IMAGE], ["4 images for 3 labels in train_y.bin"]),
        ("test_y.bin", lambda b: b[:1], ["2 images for 1 labels"]),
        ("unlabeled_X.bin", lambda b: b"", ["empty", "images"]),
        ("test_y.bin", lambda b: b"", ["empty", "labels"]),
        ("train_y.bin", lambda b: b"\1\0\2", ["label 0 for image 1", "expected 1 to 10"]),
        ("test_y.bin", lambda b: b"\1\x0b", ["label 11 for image 1", "expected 1 to 10"]),
        ("class_names.txt", lambda b: b.replace(b"truck\n", b""), ["9 classes", "expected 10"]),
        ("class_names.txt", lambda b: b"\xff\xfe", ["UnicodeDecodeError"]),
    ],
)
def test_damaged_files_are_refused(stl, file, damage, words):
    """A shifted image or a label of 255 would train without complaint."""
    path = stl / "stl10_binary" / file
    path.write_bytes(damage(path.read_bytes()))
    with refused(file, *words):
        load("stl10", data_dir=stl)


@pytest.mark.parametrize("file", ["train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt"])
def test_missing_files_are_refused(stl, file):
    """A bare traceback of numpy."""
    (stl / "stl10_binary" / file).unlink()
    with refused(file, "no such file", "check the path"):
        stl10(stl / "stl10_binary")
