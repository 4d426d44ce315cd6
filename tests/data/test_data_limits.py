"""Files that claim or unpack to more than there is, and names that no system can use: one line each, and no memory."""

import gzip
import io
import os
import pickle
import socket
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch
from data_helpers import cifar10_files, idx_files, refused, write_files
from run_helpers import assert_refused, run_cli
from test_data_pictures import album, grey, png

import altprop
from altprop.core import Refused
from altprop.data import DataError, archives, catalogue, errors, image_names, load, read_features
from altprop.data.pictures import read_image
from altprop.measure import fit_whitening, whitening
from altprop.run.recipe import RunError
from altprop.run.values import make_recipe

X, Y = np.arange(40, dtype=np.float32).reshape(20, 2), np.arange(20) % 2


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def npy(array, **claims):
    """A .npy file whose header may lie."""
    buffer = io.BytesIO()
    header = {
        "shape": array.shape,
        "fortran_order": False,
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        **claims,
    }
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + array.tobytes()


def npz(path="own.npz", compression=zipfile.ZIP_DEFLATED, **members):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content if isinstance(content, bytes) else npy(content))
    return path


def patched(path, old, new):
    """The bytes ``old`` of a file, wherever they stand, become ``new``."""
    with open(path, "rb") as file:
        content = file.read()
    assert old in content
    with open(path, "wb") as file:
        file.write(content.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"shape": (10**12,)}, ["(1000000000000,) of float32", "4 TB", "160 bytes"]),
        ({"shape": (10**12, 10**12)}, ["over 1000 EB"]),
        ({"shape": (2**62, 4)}, ["73.8 EB"]),
        ({"shape": (20, 3)}, ["(20, 3)", "240 bytes", "160 bytes"]),
        ({"shape": (20, 1)}, ["80 bytes"]),
        ({"shape": (-20, -2)}, ["(-20, -2)"]),
        ({"shape": (20, 2), "descr": "<f8"}, ["float64"]),
        ({"shape": (10**12,), "descr": "<U0"}, ["no size"]),
        ({"shape": (5,), "descr": "|O"}, ["Object arrays"]),
        ({"shape": tuple(range(10**9, 10**9 + 400))}, ["over 1000 EB"]),
        ({"shape": "x"}, ["unreadable"]),
        ({"shape": (0, 2**62, 2**62)}, ["own.npz"]),
    ],
    ids=range(12),
)
def test_npz_headers_that_lie(claims, words):
    """Believed, they end in MemoryError, or in a killed process."""
    with refused("own.npz", *words) as _:
        load(npz(x=npy(X, **claims), y=Y))


def test_npz_headers_of_many_brackets():
    """Python's own parser gives up with RecursionError or MemoryError."""
    header = b"(" * 8000
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    with refused("own.npz"):
        load(npz(x=content, y=Y))


def test_npz_in_fortran_order_and_of_version_2():
    """Sound archives, not the usual ones."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asfortranarray(X), version=(2, 0))
    data = load(npz(x=buffer.getvalue(), y=Y))
    assert sorted(map(tuple, torch.cat([data.x_train, data.x_test]).tolist())) == [tuple(row) for row in X.tolist()]


def test_encrypted_members_are_refused():
    """By name; zipfile raises RuntimeError with a class's representation."""
    path = npz(x=X, y=Y)
    with open(path, "rb") as file:
        content = bytearray(file.read())
    entry = content.index(b"PK\x01\x02")
    content[6] |= 1
    content[entry + 8] |= 1  # the flags of the first member, before it and in the directory
    with open(path, "wb") as file:
        file.write(content)
    with refused("own.npz", "'x' is encrypted", "numpy.savez"):
        load(path)


def test_names_that_stand_twice_are_refused():
    """Which of them holds the samples?"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile("own.npz", "w") as archive:
            for value in (X, X + 1):
                archive.writestr("x.npy", npy(value))
            archive.writestr("y.npy", npy(Y))
    with refused("own.npz", "'x' stands twice"):
        load("own.npz")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_bombs_are_refused(monkeypatch, compression):
    """Zeros; and numbers that merely compress well are read."""
    monkeypatch.setattr(archives, "HARMLESS", 10**5)
    x = np.zeros((20, 10**5), np.uint8)
    with refused("own.npz", "'x' unpacks to 2 MB out of", "500-fold"):
        load(npz(compression=compression, x=x, y=Y))
    x[:] = np.random.default_rng(0).integers(0, 2, (20, 1))
    x[:, ::400] += np.random.default_rng(0).integers(0, 200, (20, 250), dtype=np.uint8)
    assert load(npz(compression=compression, x=x, y=Y)).shape == (10**5,)


def test_a_directory_that_lies_about_sizes_is_refused():
    """zip's own fields of 32 bits, and those of zip64."""
    path = npz(compression=zipfile.ZIP_STORED, x=X, y=Y)
    size = struct.pack("<I", len(npy(X)))
    with refused("own.npz"):
        load(patched(path, size + size, size + struct.pack("<I", 2**31)))
    path = npz(compression=zipfile.ZIP_STORED, x=X, y=Y)
    with refused("own.npz"):
        load(patched(path, size + size, struct.pack("<II", 2**32 - 1, 2**32 - 1)))


def room(monkeypatch, size):
    """A machine of so many bytes, as far as the readers of data are concerned."""
    monkeypatch.setattr(errors, "memory", lambda: size)


def test_arrays_beyond_a_third_of_memory_are_refused(monkeypatch):
    """At the byte: x and y have 160 of it each, behind headers of 128."""
    path, whole = npz(x=X, y=Y), len(npy(X)) + len(npy(Y))
    room(monkeypatch, 3 * whole)
    assert load(path).shape == (2,)
    room(monkeypatch, 3 * whole - 3)
    with refused("own.npz", f"its arrays together take {whole} bytes", f"up to {whole - 1} bytes", "fewer samples"):
        load(path)


def test_other_data_beyond_memory_are_refused(monkeypatch, tmp_path):
    """Before they are read: images, a table, idx."""
    album(tmp_path / "set", grey)
    (tmp_path / "own.csv").write_text("a,label\n" + "1.5,0\n2.5,1\n" * 10)
    write_files(tmp_path / "MNIST" / "raw", idx_files())
    room(monkeypatch, 100)
    with refused("set: 6 images of (1, 3, 4) take 72 bytes", "up to 33 bytes"):
        load("set")
    for read in (load, lambda path: read_features(tmp_path / path, (1,))):
        with refused("own.csv", "the table takes"):
            read("own.csv")
    with refused("train-images-idx3-ubyte", "(20, 28, 28) takes 15.7 kB"):
        load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("error", [MemoryError, RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")])
def test_memory_that_ends_while_data_are_read(monkeypatch, error):
    """Whoever raises it: Python, numpy, torch."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(catalogue, "read_file", fail)
    with refused("own.npz: does not fit into memory (", "fewer samples"):
        load(npz(x=X, y=Y))
    monkeypatch.setattr(archives.zipfile, "ZipFile", fail)
    with refused("own.npz"):
        read_features(archives.Path("own.npz"), (2,))


def test_sizes_are_told_in_their_unit():
    """A number of 13 digits is not read."""
    sizes = {0: "0 bytes", 999: "999 bytes", 1000: "1 kB", 8 * 10**12: "8 TB", 10**20: "100 EB", 10**21: "over 1000 EB"}
    assert {size: errors.readable_size(size) for size in sizes} == sizes


@pytest.mark.parametrize("size", [(20000, 20000), (10**6, 10**6)])
def test_image_bombs_are_refused_before_they_are_decoded(size, recwarn):
    """Pillow warns of one and raises for the other; both are one line."""
    path = archives.Path("x.png")
    path.write_bytes(png(np.zeros((1, 1)), depth=8, size=size))
    with refused("x.png"):
        read_image(path)
    with refused("x.png"):
        read_features(path, (1, 4, 3))
    assert not recwarn.list


def test_images_beyond_the_limit_are_refused_by_their_size():
    """From the header, of 90 million pixels where 89 may be."""
    path = archives.Path("x.png")
    path.write_bytes(png(np.zeros((1, 1)), depth=8, size=(9000, 10000)))
    with refused("x.png: has 10000 x 9000 pixels", "89 million"):
        read_image(path)


TRAIN = "MNIST/raw/train-images-idx3-ubyte"


def test_gzip_bombs_in_idx_are_read_as_far_as_the_header_says(monkeypatch, tmp_path):
    """200 MB of zeros behind 20 images, in 200 kB; no more than one byte of them is unpacked."""
    write_files(tmp_path / "MNIST" / "raw", idx_files())
    whole = (tmp_path / TRAIN).read_bytes()
    (tmp_path / TRAIN).write_bytes(gzip.compress(whole + bytes(2 * 10**7), 1))
    asked, read = [], gzip.GzipFile.read

    def watched(self, size=-1):
        asked.append(size)
        return read(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", watched)
    with refused(TRAIN, f"holds {len(whole) + 1} bytes or more", f"expected {len(whole)}"):
        load("mnist", data_dir=tmp_path)
    assert asked == [16, len(whole) - 16 + 1]
    (tmp_path / TRAIN).write_bytes(whole[:4] + b"\xff" * 12 + whole[16:])
    with refused(TRAIN, "takes over 1000 EB", "damaged"):
        load("mnist", data_dir=tmp_path)


NESTED: list = []
for _ in range(40):
    NESTED = [NESTED, NESTED]  # a pickle of 400 bytes, a text of 2^40 brackets


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([1] * 10, ["names a class by int", "10 texts"]),
        ([b"caf\xe9", *"abcdefghi"], ["UnicodeDecodeError", "UTF-8"]),
        (list("abcdefghijk"), ["11 classes, 11 of them different"]),
        (list("abcdefghi"), ["9 classes"]),
        (list("abcdefghia"), ["10 classes, 9 of them different"]),
        ([["a"]] * 10, ["by list"]),
        (NESTED, ["by list"]),
        ("abcdefghij", ["by str"]),
        (None, ["by NoneType"]),
        ({"a": 1}, ["by dict"]),
        (10**5000, ["by int"]),
    ],
    ids=range(11),
)
def test_cifar_with_odd_class_names(tmp_path, names, words):
    """From meta files that other tools have written."""
    files = {**cifar10_files(), "batches.meta": pickle.dumps({b"label_names": names}, 2)}
    write_files(tmp_path / "cifar-10-batches-py", files)
    with refused("batches.meta", *words):
        load("cifar10", data_dir=tmp_path)


DATA = np.zeros((4, 3072), np.uint8)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"data": DATA, "labels": [0, [1], 2, 3]}, ["list in row 1"]),
        ({"data": DATA, "labels": [[0], [1], [2, 3], 4]}, ["list in row 0"]),
        ({"data": DATA, "labels": [0, 1, "2", 3]}, ["str in row 2"]),
        ({"data": DATA, "labels": [0, 1, 2.5, 3]}, ["float in row 2"]),
        ({"data": DATA, "labels": [0, 1, None, 3]}, ["NoneType in row 2"]),
        ({"data": DATA, "labels": [0, 1, True, 3]}, ["bool in row 2"]),
        ({"data": DATA, "labels": [0, 1, 10**30, 3]}, ["int in row 2"]),
        ({"data": DATA, "labels": np.array([0.5] * 4)}, ["float64 in row 0"]),
        ({"data": DATA, "labels": np.zeros((4, 2), int)}, ["ndarray"]),
        ({"data": DATA, "labels": np.array(3)}, ["ndarray"]),
        ({"data": DATA, "labels": {0: 1}}, ["dict"]),
        ({"data": DATA, "labels": "0123"}, ["str"]),
        ({"data": DATA, "labels": NESTED}, ["2 labels for 4 images"]),
        ({"data": DATA, "labels": [0, 1, 2, 11]}, ["labels out of range", "11 in row"]),
        ({"data": DATA, "labels": [0, 1, 2, -1]}, ["labels out of range", "-1 in row"]),
        ({"data": [[0] * 3072] * 4, "labels": [0, 1, 2, 3]}, ["data list"]),
        ({"data": DATA.astype(float), "labels": [0, 1, 2, 3]}, ["float64"]),
        ({"data": np.array(3, np.uint8), "labels": [0]}, ["uint8 ()"]),
        ({"data": DATA, 3: [0]}, ["a name that is int"]),
        ({"data": DATA, (1, 2): [0]}, ["a name that is tuple"]),
        ({b"\xff": 1}, ["unreadable"]),
        ({"k" * 5000: 1}, ["no 'labels'"]),
    ],
    ids=range(22),
)
def test_cifar_with_odd_fields(tmp_path, batch, words):
    """Each would be a traceback somewhere behind the reader."""
    batch = {"labels": [0, 1, 2, 3], **batch} if batch.keys() == {b"\xff"} else batch
    if "k" * 5000 in batch:
        batch = {"data": DATA, **batch}
    write_files(tmp_path / "cifar-10-batches-py", {**cifar10_files(), "data_batch_4": pickle.dumps(batch, 2)})
    with refused(*words) as _:
        load("cifar10", data_dir=tmp_path)


def test_whitening_beyond_memory_is_refused_before_it_is_begun(monkeypatch, capsys):
    """A covariance of 200000 features has 320 GB."""
    words = ["200000 features", "200000 x 200000", "1.6e+03 GB", "scale them by 'standard'"]
    with pytest.raises(Refused) as caught:
        fit_whitening(torch.zeros(2, 200000))
    assert all(word in str(caught.value) for word in words) and len(str(caught.value)) <= 290
    np.savez("own.npz", x=np.eye(4, 200000, dtype=np.float32), y=np.array([0, 1, 0, 1]))
    assert_refused(run_cli(capsys, "train", "bp", "--data", "own.npz", "--whiten", "zca", "--epochs", 1), *words)
    monkeypatch.setattr(whitening, "memory", lambda: 5 * 8 * 10**2)
    assert fit_whitening(torch.randn(30, 10)).matrix.shape == (10, 10)
    with pytest.raises(Refused, match="memory holds those of 10:"):
        fit_whitening(torch.randn(30, 11))


def special(kind, path):
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a socket":
        socket.socket(socket.AF_UNIX).bind(path)
    else:
        os.symlink("/dev/zero", path)


@pytest.mark.parametrize("kind", ["a FIFO", "a socket", "a device"])
@pytest.mark.parametrize("name", ["own.csv", "own.npz", "own.png", "folder/cat/1.png", "MNIST/raw/" + TRAIN[10:]])
def test_special_files_are_refused_unopened(tmp_path, kind, name):
    """A FIFO waits for ever for its writer, /dev/zero never ends."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    write_files(tmp_path / "MNIST" / "raw", {} if name[0] != "M" else idx_files())
    (tmp_path / name).unlink(missing_ok=True)
    special(kind, name)
    source = name.split("/")[0]
    if name.startswith("own"):
        with refused(name, f"is {kind}", "to a file"):
            read_features(tmp_path / name, (2,))
    if kind == "a device" or not name.startswith("MNIST"):  # a FIFO is no file that would make MNIST complete
        with refused(f"is {kind}") if not name.startswith("MNIST") else refused("train-images"):
            load(source if not name.startswith("MNIST") else "mnist", data_dir=tmp_path, mirror="file:///none")


PATHS = {
    "no such user": ("~nobody-of-that-name/x.csv", ["~nobody-of-that-name", "home folder"]),
    "thousands of parts": ("a/" * 5000 + "x.csv", ["a/a/a", "a/x.csv", "expected"]),
    "a long name": ("x" * 9000 + ".csv", ["xxx ... xxx", "expected"]),
    "a long unknown name": ("x" * 9000, ["unknown", "give a known name or a path"]),
    "a null": ("a\0b.csv", ["a\\x00b.csv", "expected"]),
    "a null without suffix": ("a\0b", ["a\\x00b"]),
    "no UTF-8": ("caf\udce9.csv", ["caf\\udce9.csv: no such file"]),
    "a line break": ("a\nb.csv", ["a b.csv: no such file"]),
    "an escape": ("a\x1b[31mb.csv", ["a\\x1b[31mb.csv: no such file"]),
    "a link to itself": ("loop.csv", ["loop.csv", "expected"]),
    "below a file": ("own.csv/x.csv", ["own.csv/x.csv", "expected"]),
}


@pytest.mark.parametrize("case", PATHS)
def test_paths_that_no_system_can_use(case):
    """One line of at most 290 letters, in training and in prediction, that keeps beginning and advice."""
    name, words = PATHS[case]
    os.symlink("loop.csv", "loop.csv")
    with open("own.csv", "w") as file:
        file.write("a,label\n1,2\n")
    for read in (load, lambda path: read_features(archives.Path(path), (2,)), lambda path: image_names(path)):
        with pytest.raises(DataError) as caught:
            read(name)
        message = str(caught.value)
        assert len(message) <= 290 and message.isprintable(), message
        assert read is not load or all(word in message for word in words), message


def test_other_folders_of_no_user(monkeypatch):
    """The data folder, from the environment or by option."""
    monkeypatch.setenv("ALTPROP_DATA", "~nobody-of-that-name/sets")
    with refused("~nobody-of-that-name/sets", "home folder"):
        load("mnist")


QUICK = {"net": "2-2", "epochs": 1, "measure": False, "probe": False}


def test_data_with_a_name_that_is_no_utf8(capsys):
    """Read in Python; a run directory, whose recipe is UTF-8, cannot name it, and says so."""
    np.savez("caf\udce9.npz", x=X, y=Y)
    data = load("caf\udce9.npz")
    assert data.name == "caf\\udce9.npz" and altprop.fit("bp", data=data, **QUICK).path is None
    outcome = run_cli(capsys, "train", "bp", "--data", "caf\udce9.npz", "--epochs", 1)
    assert_refused(outcome, "caf\\udce9.npz", "no UTF-8", "rename it")
    assert not os.path.exists("runs")
    with pytest.raises(RunError, match=r"^class_weight = .*bytes that are no UTF-8, which no recipe can keep"):
        make_recipe(class_weight={"caf\udce9": 1.0, "b": 2.0})


@pytest.mark.parametrize(
    "message",
    ["short; do it", "p" * 9000 + ": is long; expected less; cut it", "a b " * 900 + "; expected less; cut it",
     "/".join(["part"] * 60) + ": came; " + "advice " * 60 + "ends", "x" * 289, "x" * 290, "x" * 80 + " y" * 200],
)  # fmt: skip
def test_messages_have_at_most_300_letters(message):
    """Beginning and advice stay; one of 290 is left as it is."""
    told = str(DataError(message))
    assert len(told) <= 290 and told[:5] == message[:5] and told[-6:] == message[-6:]
    assert (told == message) == (len(message) <= 290)
    assert "; cut it" not in message or told.endswith("; cut it")
    assert str(DataError(told)) == told
