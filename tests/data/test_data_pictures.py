"""Image files against pixels written by hand: orientation, depth, formats, modes, and what is left out."""

import os
import shutil
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from data_helpers import refused
from PIL import Image
from run_helpers import run_cli

import altprop
from altprop.data import DataWarning, load
from altprop.data.imagenette import read_photograph
from altprop.data.pictures import read_image

RNG = np.random.default_rng(0)
BLOCKS = np.kron(RNG.integers(0, 256, (2, 3)), np.ones((16, 16))).astype(np.uint8)  # JPEG keeps them, almost
UPRIGHT = {  # EXIF 2.3, tag 274: where the stored row 0 and column 0 belong, as transpositions of the stored array
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.T, 6: lambda a: a[::-1].T, 7: lambda a: a[::-1, ::-1].T, 8: lambda a: a.T[::-1],
}  # fmt: skip


def exif(orientation):
    data = Image.Exif()
    data[274] = orientation
    return data


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values, depth=16, kind=0, size=None):
    """A PNG from its specification: rows of big-endian values behind a zero; kind 0 is grey, 2 RGB."""
    height, width = size or values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else ">u1").tobytes() for row in values)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def album(folder, write, classes=("cat", "dog"), each=3):
    """A folder of classes; ``write(path, index)`` gives each of its images, whose suffix is put to it by hand."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            write(folder / name / f"{index}", 10 * label + index)
    return folder


def grey(path, value, size=(4, 3), suffix=".png"):
    Image.new("L", size, value).save(path.with_name(path.name + suffix))


def told(load_it):
    """The one DataWarning of the call, as text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_it()
    (warning,) = caught
    assert issubclass(warning.category, DataWarning) and issubclass(DataWarning, UserWarning)
    assert "\n" not in str(warning.message) and len(str(warning.message)) <= 290
    return str(warning.message)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".png", {}), (".jpg", {"quality": 95}), (".tif", {}), (".tiff", {"compression": "tiff_lzw"}),
     (".webp", {"lossless": True})],
)  # fmt: skip
def test_every_orientation_of_exif_is_undone(tmp_path, orientation, suffix, options):
    """A photograph on its side beside one that stands would teach the camera's position."""
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(BLOCKS).save(path, exif=exif(orientation), **options)
    close = 8 if suffix == ".jpg" else 0
    pixels = read_image(path)
    if pixels.shape[0] == 3:  # WebP has no grey
        pixels = pixels[:1]
    assert abs(pixels[0].astype(int) - UPRIGHT[orientation](BLOCKS).astype(int)).max() <= close


def test_orientation_at_16_bits_and_of_the_published_photographs(tmp_path):
    """Whoever opens an image turns it."""
    values = RNG.integers(0, 65536, (3, 5)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png", exif=exif(6))
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png")[0], UPRIGHT[6](values) / np.float32(65535))
    half = np.zeros((160, 160), np.uint8)
    half[:80] = 255
    Image.fromarray(half).save(tmp_path / "photo.png", exif=exif(8))
    np.testing.assert_array_equal(read_photograph(tmp_path / "photo.png")[1], UPRIGHT[8](half))


def test_damaged_exif_leaves_the_picture(tmp_path):
    """As every viewer does; and it is told."""

    def write(path, index):
        kept = {"exif": b"Exif\0\0not a directory"} if index == 1 else {}
        Image.new("L", (4, 3), index).save(f"{path}.png", **kept)

    folder = album(tmp_path / "set", write)
    assert "1 read without its EXIF data, which are damaged" in told(lambda: load(folder))


@pytest.mark.parametrize("suffix", [".png", ".PNG"])
def test_16_bits_of_grey_stay(tmp_path, suffix):
    """Cut to 8, neighbouring greys of a microscope fall together; clipped at 255, all is white."""
    values = {}

    def write(path, index):
        values[index] = RNG.integers(0, 65536, (3, 4))
        path.with_name(path.name + suffix).write_bytes(png(values[index]))

    data = load(album(tmp_path / "set", write))
    assert data.x_train.dtype == torch.float32 and data.shape == (1, 3, 4)
    x = torch.cat([data.x_train, data.x_test]).numpy()
    expected = np.stack([values[index] for index in values])[:, None] / np.float64(65535)
    assert {row.tobytes() for row in x} == {row.astype(np.float32).tobytes() for row in expected}


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bits_of_tiff_in_either_byte_order(tmp_path, order):
    """Read in the wrong order 1 becomes 256."""
    values = np.array([[0, 1, 256], [255, 40000, 65535]])
    Image.fromarray(values.astype(order)).save(tmp_path / "x.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif")[0], values.astype(np.float32) / 65535)


def test_integers_of_32_bits(tmp_path):
    """Mode I holds 16 bits, as from a PGM, or more, which have no known white."""
    values = np.array([[0, 70], [300, 65535]], np.int32)
    Image.fromarray(values).save(tmp_path / "x.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif")[0], values.astype(np.float32) / 65535)
    (tmp_path / "x.pgm").write_bytes(b"P5 2 2 65535\n" + values.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "x.pgm")[0], values.astype(np.float32) / 65535)
    for odd, words in (([[0, 65536]], "0 to 65536"), ([[-1, 5]], "-1 to 5")):
        Image.fromarray(np.array(odd, np.int32)).save(tmp_path / "odd.tif")
        with refused("odd.tif", words, "16 bits", ".npz"):
            read_image(tmp_path / "odd.tif")


def test_8_and_16_bits_in_one_set_are_refused(tmp_path):
    """The scale of one would be the class."""
    folder = album(tmp_path / "set", grey)
    (folder / "dog" / "1.png").write_bytes(png(np.full((3, 4), 9)))
    with refused("dog/1.png", "16 bits", "expected 8 bits"):
        load(folder)


@pytest.mark.parametrize("content", [png(np.full((3, 4, 3), 0x1280), kind=2),
                                     b"P6 4 3 65535\n" + b"\x12\x80" * 36])  # fmt: skip
def test_16_bits_of_colour_are_told(tmp_path, content):
    """Pillow gives the upper 8 alone."""

    def write(path, index):
        path.with_name(path.name + (".png" if content[1:4] == b"PNG" else ".ppm")).write_bytes(content)

    folder = album(tmp_path / "set", write)
    assert "6 read at 8 of 16 bits" in told(lambda: load(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load(folder).x_train.unique().tolist() == [0x12]


def test_few_bits_of_colour_and_wide_images_are_not_taken_for_16(tmp_path):
    """A number 16 elsewhere in what Pillow says of a file, such as its stride."""

    def write(path, index):
        Image.new("RGB", (16, 16), (index, 0, 0)).save(f"{path}.tif")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(album(tmp_path / "set", write))


FORMATS = [".png", ".PNG", ".jpg", ".jpeg", ".jpe", ".JFIF", ".bmp", ".webp", ".tif", ".TIFF", ".gif", ".ppm", ".pgm"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats_that_pillow_reads(tmp_path, suffix):
    """Skipped in silence, a class of scans in TIFF would be a class of the three thumbnails beside them."""

    def write(path, index):
        kind = {".jpe": "JPEG", ".jfif": "JPEG"}.get(suffix.lower())
        mode = "L" if suffix.lower() == ".pgm" else "RGB"
        Image.new(mode, (8, 8), index * 10 if mode == "L" else (index * 10,) * 3).save(f"{path}{suffix}", kind)

    data = load(album(tmp_path / "set", write))
    assert len(data.x_train) + len(data.x_test) == 6
    for x, y in zip(data.x_train, data.y_train, strict=True):
        values = x.float().mean().item() / 10 - 10 * y.item()
        assert abs(values - round(values)) < 0.3 and round(values) in (0, 1, 2)


def test_colours_of_a_gif_and_its_first_frame(tmp_path):
    """By its palette, not by the numbers of the entries; later frames are told."""
    colours = [(255, 0, 10), (3, 200, 7), (9, 8, 250)]

    def write(path, index):
        frames = [Image.new("RGB", (4, 3), colours[(index + shift) % 3]) for shift in range(2)]
        frames[0].save(f"{path}.gif", save_all=True, append_images=frames[1:])

    folder = album(tmp_path / "set", write)
    assert "6 read by the first of several frames" in told(lambda: load(folder))
    assert read_image(folder / "cat" / "0.gif")[:, 2, 3].tolist() == [255, 0, 10]


def test_palettes_of_greys_are_grey(tmp_path):
    """A grey GIF comes as a palette of the greys that occur in it."""
    values = np.array([[10, 200], [90, 90]], np.uint8)
    image = Image.fromarray(np.array([[0, 1], [2, 2]], np.uint8), "L").convert("P")
    image.putpalette([10, 10, 10, 200, 200, 200, 90, 90, 90])
    image.save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), values[None])
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", (3, 2, 2)), np.stack([values] * 3))


def test_black_and_white_is_grey(tmp_path):
    """0 and 255, not 0 and 1."""
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").tolist() == [[[255, 0]]]


@pytest.mark.parametrize(
    ("mode", "colour", "pixels"), [("RGBA", (1, 2, 3, 255), [1, 2, 3]), ("LA", (7, 255), [7])]
)  # fmt: skip
def test_opaque_alpha_is_dropped(tmp_path, mode, colour, pixels):
    """It says nothing."""
    Image.new(mode, (4, 3), colour).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png")[:, 0, 0].tolist() == pixels


@pytest.mark.parametrize(
    "image",
    [Image.new("RGBA", (4, 3), (1, 2, 3, 254)), Image.new("LA", (4, 3), (1, 0)), Image.new("P", (4, 3), 0),
     Image.new("RGB", (4, 3), (1, 2, 3)), Image.new("L", (4, 3), 1)],
    ids=lambda image: image.mode,
)  # fmt: skip
def test_transparent_pixels_are_refused(tmp_path, image):
    """What lies under them is no part of the picture."""
    key = {"P": 0, "L": 1, "RGB": (1, 2, 3)}.get(image.mode)
    image = image.resize((8, 6), Image.Resampling.NEAREST)
    image.paste({"RGBA": (9, 9, 9, 255), "LA": (9, 255), "RGB": (9, 9, 9)}.get(image.mode, 9), (0, 0, 7, 6))
    image.save(tmp_path / "x.png", **({} if key is None else {"transparency": key}))
    with refused("x.png", f"mode {image.mode} with transparent pixels", "convert('RGB')"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", ".jpg"), ("F", ".tif"), ("LAB", ".tif")])
def test_other_modes_are_refused(tmp_path, mode, suffix):
    """No one agrees on how they become RGB."""
    Image.new(mode, (4, 3)).save(tmp_path / f"x{suffix}")
    with refused(f"x{suffix}", f"mode {mode}", "expected L (grey) or RGB", "convert"):
        read_image(tmp_path / f"x{suffix}")


def test_what_is_left_out_is_counted(tmp_path):
    """In one line; hidden files and what systems leave behind are nothing."""
    folder = album(tmp_path / "set", grey)
    for name in ("cat/a.psd", "cat/b.PSD", "dog/c.svg", "dog/README", "dog/.hidden.png", "cat/._0.png", "cat/Thumbs.db",
                 "cat/.DS_Store", "._cat"):  # fmt: skip
        (folder / name).write_bytes(b"no image at all")
    (folder / "__MACOSX").mkdir()
    (folder / "cat" / "more").mkdir()
    shutil.copy(folder / "cat" / "0.png", folder / "cover.png")
    message = told(lambda: load(folder))
    assert "4 left out, of no format that is read (2 .psd," in message and "1 .svg" in message
    assert "1 without suffix" in message and "1 left out, folders in a class" in message
    assert "1 left out, images beside the class folders" in message
    assert len(load(folder).x_train) == 4


def test_a_folder_of_images_alone_is_told_nothing(tmp_path):
    """A line that always comes is not read."""
    folder = album(tmp_path / "set", grey)
    (folder / "cat" / ".DS_Store").write_bytes(b"x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(folder)


@pytest.mark.parametrize("classes", [("cat", "train"), ("dog", "test"), ("plane", "test", "train")])
def test_classes_called_train_and_test(tmp_path, classes):
    """They hold images themselves, as no part of a split does."""
    data = load(album(tmp_path / "set", grey, classes))
    assert data.classes == classes and len(data.x_train) + len(data.x_test) == 3 * len(classes)
    assert all(int(x[0, 0, 0]) // 10 == y for x, y in zip(data.x_train, data.y_train, strict=True))


def test_a_split_without_classes_is_told(tmp_path):
    """train/ and test/ with images and no labels: taken for classes, which is hardly meant."""
    folder = album(tmp_path / "set", grey, ("test", "train"))
    assert "test and train hold images, so they are taken for classes" in told(lambda: load(folder))


def test_a_split_passes_over_images_and_folders_beside_it(tmp_path):
    """train/ holds class folders: it is the split, whatever else lies there; which is told."""
    album(tmp_path / "set" / "train", grey)
    album(tmp_path / "set" / "test", grey)
    album(tmp_path / "set" / "val", grey)
    grey(tmp_path / "set" / "train" / "stray", 1)
    grey(tmp_path / "set" / "cover", 1)
    data, message = load(tmp_path / "set"), told(lambda: load(tmp_path / "set"))
    assert data.classes == ("cat", "dog") and len(data.x_train) == len(data.x_test) == 6
    assert "1 left out, images beside train/" in message
    assert "1 left out, images beside the classes of train/" in message
    assert "1 left out, folders beside train/ and test/" in message


def test_a_palette_in_the_test_part_is_read_as_the_training_part(tmp_path):
    """Greys in a palette, where training saw RGB."""
    album(tmp_path / "set" / "train", lambda path, i: Image.new("RGB", (4, 3), (i, 2, 3)).save(f"{path}.png"))
    album(tmp_path / "set" / "test", lambda path, i: Image.new("L", (4, 3), 9).convert("P").save(f"{path}.png"))
    assert load(tmp_path / "set").x_test.shape == (6, 3, 3, 4)


def test_names_that_are_no_utf8(tmp_path):
    """Class and file from a disk of another time."""
    folder = album(tmp_path / "set", grey, ("caf\udce9", "dog"))
    data = load(folder)
    assert data.classes == ("caf\\udce9", "dog")
    (folder / "caf\udce9" / "b\udcfcro.png").write_bytes(b"broken")
    with refused("caf\\udce9/b\\udcfcro.png", "unreadable") as _:
        load(folder)


def test_a_fifo_among_the_images_does_not_wait(tmp_path):
    """Nobody will ever write to it."""
    folder = album(tmp_path / "set", grey)
    os.mkfifo(folder / "cat" / "9.png")
    with refused("cat/9.png", "is a FIFO", "expected a PNG or JPEG"):
        load(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 4 x 3 grey images, dark and light."""
    folder = tmp_path_factory.mktemp("images")
    album(folder / "set", lambda path, i: grey(path, 200 if i >= 10 else 20), ("dark", "light"), 10)
    settings = {"net": "12-2", "epochs": 40, "lr": 0.5, "measure": False, "probe": False}
    altprop.fit("bp", data=folder / "set", out=folder / "run", **settings)
    return folder / "run"


def test_predictions_name_the_files_of_a_tree(run, tmp_path, capsys):
    """Two columns of labels without names cannot be put to their images."""
    new = album(tmp_path / "new", lambda path, i: grey(path, 20 if i % 2 else 200), ("b", "a/deep"), 2)
    for name in (".hidden.png", "._x.png", "b/.DS_Store", "Thumbs.db"):
        (new / name).write_bytes(b"nothing")
    grey(new / "caf\udce9", 200)
    os.symlink(new, new / "b" / "again")
    header, *lines = run_cli(capsys, "predict", run, new).out.splitlines()
    assert header == "file,label,probability,p_dark,p_light"
    assert [line.split(",")[:2] for line in lines] == [
        ["a/deep/0.png", "light"], ["a/deep/1.png", "dark"], ["b/0.png", "light"], ["b/1.png", "dark"],
        ["caf\\udce9.png", "light"],
    ]  # fmt: skip
    written = run_cli(capsys, "predict", run, new, "--out", tmp_path / "answers.csv")
    assert written.status == 0 and (tmp_path / "answers.csv").read_text() == "\n".join([header, *lines, ""])
    alone = run_cli(capsys, "predict", run, new / "b" / "1.png").out.splitlines()
    assert alone == [header, lines[3].removeprefix("b/")]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: Image.new("RGB", (4, 3), (1, 2, 3)).save(p), ["RGB of (C, H, W) = (3, 3, 4)", "(1, 3, 4)"]),
        (lambda p: Image.new("L", (3, 4), 1).save(p), ["L of (C, H, W) = (1, 4, 3)", "those of training"]),
        (lambda p: Image.new("LA", (4, 3), (1, 0)).save(p), ["transparent"]),
        (lambda p: p.write_bytes(png(np.full((3, 4), 9))), ["16 bits", "8 bits"]),
        (lambda p: p.write_bytes(b"x"), ["unreadable"]),
        (os.mkfifo, ["is a FIFO"]),
    ],
    ids=["colour", "turned", "transparent", "depth", "damaged", "fifo"],
)
def test_images_unlike_the_runs_are_refused_by_name(run, tmp_path, capsys, spoil, words):
    """Reshaped or converted in silence, they get answers all the same."""
    new = album(tmp_path / "new", grey, ("b",))
    spoil(new / "b" / "7.png")
    outcome = run_cli(capsys, "predict", run, new)
    assert outcome.status == 2 and outcome.err.count("\n") == 1 and len(outcome.err) <= 300
    assert all(word in outcome.err for word in ["7.png", *words]), outcome.err
