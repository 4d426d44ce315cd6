"""Folders of images by class, sound and damaged."""

import pytest
import torch
from data_helpers import forbid, refused
from PIL import Image

from altprop.data import load


def picture(path, colour, size=(4, 3), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def album(tmp_path):
    for i in range(10):
        picture(tmp_path / "album" / "cat" / f"{i:02}.png", (i, 50, 100))
        picture(tmp_path / "album" / "dog" / f"{i:02}.PNG", (i, 60, 120))
    (tmp_path / "album" / "dog" / "notes.txt").write_text("left alone")
    (tmp_path / "album" / ".cache").mkdir()
    return tmp_path / "album"


def test_folder_of_images(album):
    data = load(album)
    assert data.classes == ("cat", "dog") and data.shape == (3, 3, 4) and data.x_train.dtype == torch.uint8
    assert torch.bincount(data.y_test).tolist() == [2, 2] and len(data.x_train) == 16
    assert torch.equal(data.x_train[:, 1, 2, 3], torch.where(data.y_train == 0, 50, 60).to(torch.uint8))
    assert torch.equal(data.x_train[:, 2, 0, 0], torch.where(data.y_train == 0, 100, 120).to(torch.uint8))


def test_folder_with_train_and_test(tmp_path):
    for i in range(3):
        picture(tmp_path / "train" / "a" / f"{i}.png", i, mode="L")
        picture(tmp_path / "train" / "b" / f"{i}.png", 10 + i, mode="L")
    picture(tmp_path / "test" / "b" / "0.png", 99, mode="L")
    data = load(tmp_path)
    assert data.x_train[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 12] and data.y_train.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.x_test.shape == (1, 1, 3, 4) and data.x_test.unique().tolist() == [99] and data.y_test.tolist() == [1]
    picture(tmp_path / "test" / "c" / "0.png", 99, mode="L")
    with refused("class 'c'", "no training images"):
        load(tmp_path)


def test_train_folder_alone_gives_a_fifth(tmp_path):
    for i in range(10):
        picture(tmp_path / "train" / "ab"[i % 2] / f"{i}.jpg", i * 20, mode="L")
    assert len(load(tmp_path).x_test) == 2


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a: (a / "cat" / "03.png").write_text("not a picture"), ["cat/03.png", "PNG or JPEG"]),
        (lambda a: (a / "cat" / "03.png").write_bytes(b""), ["cat/03.png", "empty"]),
        (lambda a: (a / "cat" / "03.png").write_bytes((a / "cat" / "03.png").read_bytes()[:50]), ["cat/03.png"]),
        (lambda a: picture(a / "dog" / "03.png", 1, size=(5, 3)), ["dog/03.png", "(3, 3, 5)", "(3, 3, 4)"]),
        (lambda a: picture(a / "dog" / "03.png", 1, mode="L"), ["dog/03.png", "L of", "(1, 3, 4)", "(3, 3, 4)"]),
        (lambda a: picture(a / "dog" / "03.png", (1, 2, 3, 4), mode="RGBA"), ["dog/03.png", "mode RGBA", "convert"]),
        (lambda a: (a / "empty").mkdir(), ["empty", "no PNG or JPEG files"]),
        (lambda a: (a / "train").mkdir(), ["train", "no folders"]),
    ],
    ids=["text", "empty", "cut", "size", "mode", "alpha", "no images", "no classes"],
)
def test_folder_refuses(album, spoil, words):
    spoil(album)
    with refused(*words):
        load(album)


def test_images_without_permission_are_refused(album, monkeypatch):
    forbid(monkeypatch, "cat/00.png")
    with refused("cat/00.png", "no permission", "chmod"):
        load(album)
