"""Imagenette's reader, against pictures whose every pixel is known."""

import shutil

import numpy as np
import pytest
import torch
from data_helpers import imagenette_files, picture_bytes, refused, write_files

from altprop.data import load
from altprop.data.imagenette import CLASSES, imagenette, read_photograph


@pytest.fixture
def nette(tmp_path):
    write_files(tmp_path / "imagenette2-160", imagenette_files())
    return tmp_path / "imagenette2-160"


def photograph(tmp_path, pixels, kind="PNG"):
    (tmp_path / "one.JPEG").write_bytes(picture_bytes(pixels, kind))
    return read_photograph(tmp_path / "one.JPEG")


def test_parts_classes_and_labels(nette):
    """Training and validation images exchanged, labels of another order than the names, red and blue exchanged."""
    (nette / "train" / "n01440764" / "notes.txt").write_text("left alone")
    (nette / "noisy_imagenette.csv").write_text("left alone")
    data = load("imagenette", data_dir=nette.parent)
    assert data.x_train.dtype == torch.uint8 and data.x_train.shape == (20, 3, 160, 160) and len(data.x_test) == 10
    assert data.y_train.bincount().tolist() == [2] * 10 and data.y_test.tolist() == list(range(10))
    for x, y, green in ((data.x_train, data.y_train, 50), (data.x_test, data.y_test, 60)):
        assert torch.equal(x[:, 0, 7, 9], (10 * y).byte()) and x[:, 1].unique().tolist() == [green]
    assert data.x_train[:, 2, 159, 159].tolist() == [0, 1] * 10
    assert data.classes[:2] == ("tench", "English springer") and data.classes[9] == "parachute"
    assert (data.name, data.net, data.x_unlabelled) == ("imagenette", "76800-256-10", None)


@pytest.mark.parametrize(("height", "width", "top", "left"), [(160, 200, 0, 20), (181, 160, 10, 0), (160, 160, 0, 0)])
def test_the_middle_is_cut_out_pixel_by_pixel(tmp_path, height, width, top, left):
    """A resize where none is needed, a corner in place of the middle, height taken for width."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    x = photograph(tmp_path, pixels)
    assert x.shape == (3, 160, 160) and x.dtype == np.uint8
    for c in range(3):
        for row in range(160):
            assert x[c, row].tolist() == [pixels[top + row, left + column, c] for column in range(160)]


@pytest.mark.parametrize("upright", [False, True])
def test_the_short_side_is_resized(tmp_path, upright):
    """The long side resized in its place, both squeezed, or every second column dropped, where all are averaged."""
    ramp = (40 + np.arange(640) / 4 + 40 * (-1.0) ** np.arange(640)) * np.ones((320, 1))  # (320, 640)
    x = photograph(tmp_path, ramp.T if upright else ramp)[0].astype(float)
    expected = (40 + (2 * (np.arange(160) + 80) + 0.5) / 4) * np.ones((160, 1))
    assert np.abs((x.T if upright else x) - expected).max() <= 1


def test_small_and_grey_photographs(tmp_path):
    """Grey ones are among the published, and must be RGB as the others; small ones would leave black borders."""
    x = photograph(tmp_path, np.full((80, 100), 77), "JPEG")
    assert x.shape == (3, 160, 160) and (x == 77).all()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda n: shutil.rmtree(n / "val" / "n03888257"), ["val", "no folder n03888257", "10 of Imagenette"]),
        (lambda n: (n / "train" / "n01443537").mkdir(), ["train", "has a folder n01443537", "another set"]),
        (lambda n: shutil.rmtree(n / "val"), ["val", "no such file"]),
        (lambda n: (n / "val" / "n03000684" / "n03000684_0.JPEG").unlink(), ["n03000684", "no PNG or JPEG files"]),
        (lambda n: (n / "val" / "n03000684" / "n03000684_0.JPEG").write_bytes(b"\xff\xd8x"), ["n03000684_0.JPEG"]),
        (lambda n: (n / "train" / "n03000684" / "n03000684_1.JPEG").write_bytes(b""), ["n03000684_1.JPEG", "empty"]),
    ],
    ids=["class missing", "class too many", "no part", "no images", "damaged", "empty"],
)
def test_folders_are_refused(nette, spoil, words):
    """The whole of ImageNet, or what is left of a broken download, taken for Imagenette."""
    spoil(nette)
    with refused(*words):
        imagenette(nette)


def test_a_cut_jpeg_is_refused(nette):
    """Pillow can fill the rest with grey."""
    path = nette / "train" / next(iter(CLASSES)) / f"{next(iter(CLASSES))}_0.JPEG"
    whole = picture_bytes(np.random.default_rng(0).integers(0, 256, (160, 160, 3)), "JPEG")
    path.write_bytes(whole[: len(whole) // 2])
    with refused(path.name, "truncated", "get it again"):
        imagenette(nette)
