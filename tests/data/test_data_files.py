"""The user's own .npz and .csv files, sound and damaged."""

import io
import math
import zipfile

import numpy as np
import pytest
import torch
from data_helpers import forbid, refused

from altprop.data import load

X = np.arange(40, dtype=np.float32).reshape(20, 2)
Y = np.arange(20) % 2


def npz(folder, **arrays):
    np.savez(folder / "own.npz", **arrays)
    return folder / "own.npz"


def table(folder, text):
    (folder / "own.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / "own.csv"


def test_npz_with_a_test_part_stays_as_it_is(tmp_path):
    x = np.random.default_rng(0).normal(0, 50, (20, 1, 3, 3))
    data = load(npz(tmp_path, x_train=x, y_train=Y, x_test=x[:5], y_test=Y[:5]))
    np.testing.assert_array_equal(data.x_train, x.astype(np.float32))
    assert (data.shape, data.classes, data.y_test.tolist(), data.name) == (
        (1, 3, 3),
        ("0", "1"),
        [0, 1, 0, 1, 0],
        "own.npz",
    )


def test_npz_bytes_stay_bytes(tmp_path):
    data = load(npz(tmp_path, x=X.astype(np.uint8), y=Y))
    assert data.x_train.dtype == data.x_test.dtype == torch.uint8


@pytest.mark.parametrize("names", [("x", "y"), ("x_train", "y_train")])
def test_npz_without_a_test_part_gives_a_stratified_fifth(tmp_path, names):
    path = npz(tmp_path, **dict(zip(names, (X, Y), strict=True)))
    first, again, other = load(str(path), seed=4), load(path, seed=4), load(path, seed=5)
    assert torch.bincount(first.y_test).tolist() == [2, 2] and torch.equal(first.x_test, again.x_test)
    assert not torch.equal(first.x_test, other.x_test)
    assert sorted(torch.cat([first.x_train, first.x_test])[:, 0].tolist()) == X[:, 0].tolist()


def test_npz_targets(tmp_path):
    assert load(npz(tmp_path, x=X, y=X / 3)).y_train.shape == (16, 2)
    assert load(npz(tmp_path, x=X, y=X[:, 0] / 3)).outputs == 1
    assert load(npz(tmp_path, x=X, y=Y.astype(float))).task == "classification"


def test_npz_of_other_types(tmp_path):
    data = load(npz(tmp_path, x=X.astype(">f8"), y=Y.astype(">i2")))
    assert sorted(torch.cat([data.x_train, data.x_test])[:, 1].tolist()) == X[:, 1].tolist()
    assert load(npz(tmp_path, x=X > 5, y=Y > 0)).x_train.unique().tolist() == [0, 1]


BAD = X.copy()
BAD[11, 1] = math.inf


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": BAD, "y": Y}, ["x_train is inf", "row 11, column 1"]),
        ({"x": X, "y": np.where(Y, np.nan, 0.5)}, ["y_train is nan", "row 1, column 0"]),
        ({"x": X, "y": Y[:7]}, ["20 samples", "7 labels"]),
        ({"x": X, "y": Y + 1}, ["labels out of range", "from 1 to 2"]),
        ({"x": X, "y": Y - 1}, ["labels out of range", "from -1 to 0"]),
        ({"x": X, "y": Y * 0}, ["only 1 class"]),
        ({"x": X, "y": np.array([None] * 20)}, ["Object arrays"]),
        ({"x": X, "y": np.array(["cat"] * 20)}, ["only 1 class (cat)", "at least 2"]),
        ({"x": X[:0], "y": Y[:0]}, ["empty"]),
        ({"x": X[:, 0], "y": Y}, ["shape (20,)"]),
        ({"x": np.float32(3), "y": Y}, ["shape ()"]),
        ({"x": X, "y": np.int64(3)}, ["20 samples"]),
        ({"x": X, "label": Y}, ["['label', 'x']", "x_train, y_train"]),
        ({"x_train": X, "y_train": Y, "x_test": X}, ["'x_test'", "rename"]),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :1], "y_test": Y}, ["x_test", "(1,)", "(2,)"]),
        ({"x_train": X, "y_train": Y, "x_test": X[:3], "y_test": Y}, ["x_test", "3 samples", "20 labels"]),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, ["y_test: labels out of range", "2 in row 1"]),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y / 2}, ["y_test: labels out of range", "0.5 in row 1"]),
        ({}, ["own.npz"]),
    ],
    ids=range(19),
)
def test_npz_refuses(tmp_path, arrays, words):
    with refused("own.npz", *words):
        load(npz(tmp_path, **arrays))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b"a,b\n1,2\n", ["no .npz archive"]),
        (lambda b: b"", ["empty"]),
        (lambda b: b[:300], ["no .npz archive, or one cut short"]),
        (lambda b: b[:130] + bytes(40) + b[170:], ["damaged"]),
    ],
    ids=["text", "empty", "cut", "overwritten"],
)
def test_damaged_npz_is_refused(tmp_path, damage, words):
    path = npz(tmp_path, x=X, y=Y)
    path.write_bytes(damage(path.read_bytes()))
    with refused("own.npz", *words):
        load(path)


def test_npz_that_is_another_archive_or_a_single_array_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("x", "text")
        archive.writestr("y", "text")
    with refused("own.npz", "expected numbers"):
        load(tmp_path / "own.npz")
    buffer = io.BytesIO()
    np.save(buffer, X)
    (tmp_path / "own.npz").write_bytes(buffer.getvalue())
    with refused("no .npz archive"):
        load(tmp_path / "own.npz")


def test_every_cut_of_an_npz_is_refused(tmp_path):
    path = npz(tmp_path, x=X[:10], y=Y[:10])
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with refused("own.npz"):
            load(path)


def csv_of(labels, n=10, head="a,b,label"):
    return head + "\n" + "".join(f"{i},{i}.5,{labels[i % len(labels)]}\n" for i in range(n))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["0", "1"], ("0", "1")),
        (["10", "2", "3.0"], ("2", "3", "10")),
        (["-1", "1"], ("-1", "1")),
        (["pear", "apple"], ("apple", "pear")),
        (["7", "seven"], ("7", "seven")),
    ],
)
def test_csv_labels(tmp_path, labels, classes):
    data = load(table(tmp_path, csv_of(labels, n=30)))
    assert data.classes == classes and data.shape == (2,) and data.x_train.dtype == torch.float32
    for x, y in zip(data.x_train, data.y_train, strict=True):
        row = int(x[0])
        assert x.tolist() == [row, row + 0.5]
        assert classes[y] == labels[row % len(labels)].removesuffix(".0")


def test_csv_fractions_are_a_target(tmp_path):
    data = load(table(tmp_path, csv_of(["0.5", "1"])))
    assert data.task == "regression" and data.y_train.unique().tolist() == [0.5, 1]


def test_csv_label_by_name_and_anywhere(tmp_path):
    path = table(tmp_path, "kind,a,b\n" + "".join(f"{i % 2},{i},7\n" for i in range(10)))
    data = load(path, label="kind")
    assert data.x_train[:, 1].unique().tolist() == [7] and len(data.x_test) == 2
    assert torch.equal(data.x_train[:, 0].long() % 2, data.y_train)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + csv_of(["0", "1"]),
        csv_of(["0", "1"]).replace("\n", "\r\n"),
        csv_of(["0", "1"]).replace(",", " , "),
        csv_of(["0", "1"]).replace("a,b", '"a","b"') + "\n\n",
        csv_of(["0", "1"])[:-1],
    ],
    ids=["byte order mark", "carriage returns", "spaces", "quotes", "no last newline"],
)
def test_csv_dialects(tmp_path, text):
    data = load(table(tmp_path, text))
    assert len(data.x_train) + len(data.x_test) == 10 and data.classes == ("0", "1")


def test_csv_class_of_one_sample_trains(tmp_path):
    text = "a,label\n" + "".join(f"{i},{'rare' if i == 3 else 'common'}\n" for i in range(10))
    data = load(table(tmp_path, text))
    assert data.classes == ("common", "rare") and data.y_train.sum() == 1 and data.y_test.sum() == 0


def broken(cell="3,3.5,1", by=None):
    return csv_of(["0", "1"]).replace(cell, by)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (broken(by="3,oops,1"), ["row 4 (line 5)", "column 'b'", "'oops'"]),
        (broken(by="nan,1,1"), ["row 4 (line 5)", "column 'a'", "'nan'"]),
        (broken(by="1,-inf,1"), ["row 4 (line 5)", "column 'b'", "'-inf'"]),
        (broken(by="1,1e300,1"), ["row 4 (line 5)", "column 'b'", "'1e300'"]),
        (broken(by="1, ,1"), ["row 4 (line 5)", "column 'b'", "empty"]),
        (broken(by="1,1"), ["row 4 (line 5)", "2 cells", "3"]),
        (broken(by="1,1,1,1"), ["row 4 (line 5)", "4 cells"]),
        (broken(by="\n\n1,x,1"), ["row 4 (line 7)", "column 'b'"]),
        (broken(by="1,1,"), ["row 4 (line 5)", "column 'label'", "''"]),
        (broken(by="1,1,NaN"), ["row 4 (line 5)", "column 'label'", "'NaN'"]),
        (csv_of(["0", "1"])[:-3], ["row 10 (line 11)", "2 cells"]),
        (csv_of(["0", "1"], head="a,b,Labels"), ["no column 'label'", "did you mean 'Labels'?", "label="]),
        (csv_of(["0", "1"], head="a,a,label"), ["'a' stands twice"]),
        (csv_of(["0"]), ["only 1 class (0)"]),
        ("a,b,label\n", ["no rows"]),
        ("label\n1\n", ["no column but 'label'"]),
        ("a|b|label\n1|2|3\n", ["no column 'label'", "there are: a|b|label"]),
        ("", ["empty"]),
        ("\n\n", ["no column 'label'"]),
        (b"a,label\n1,1\n\x81,1\n", ["line 3", "0x81", "comma-separated", "--encoding"]),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), ["own.csv"]),
        ("a,label\n" + "1" * 200000 + ",1\n", ["line 2", "field larger"]),
        ("a,label\n1,x\n2,y\n", ["no class has 2 samples"]),
    ],
    ids=range(23),
)
def test_csv_refuses(tmp_path, text, words):
    with refused("own.csv", *words):
        load(table(tmp_path, text))


@pytest.mark.parametrize("name", ["own.npz", "own.csv", "own.tsv", "folder/of/images"])
def test_missing_files_are_refused(tmp_path, name):
    with refused(name, "no such file", "check the path"):
        load(tmp_path / name)


def test_unknown_suffixes_are_refused(tmp_path):
    (tmp_path / "own.xlsx").write_bytes(b"spread")
    with refused("own.xlsx", "suffix '.xlsx'", ".npz or .csv", "from_torch"):
        load(tmp_path / "own.xlsx")


@pytest.mark.parametrize("name", ["own.npz", "own.csv"])
def test_files_without_permission_are_refused(tmp_path, monkeypatch, name):
    npz(tmp_path, x=X, y=Y)
    table(tmp_path, csv_of(["0", "1"]))
    forbid(monkeypatch, name)
    with refused(name, "no permission", "chmod"):
        load(tmp_path / name)
