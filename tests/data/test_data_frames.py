"""What Python users hold their data in: each holder must give what plain arrays give, or be refused by name."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import refused
from run_helpers import same_bits
from torch.utils.data import DataLoader, TensorDataset

import altprop
from altprop.data import from_torch
from altprop.run.experiment import evaluate_run, predict

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")
sparse = pytest.importorskip("scipy.sparse")

X = np.random.default_rng(0).normal(size=(30, 3))
Y = np.arange(30) % 3
NAMES = ("width", "height", "Länge in m")
KINDS = np.array(["owl", "cat", "eel"])[Y]  # whose classes are cat, eel, owl
WORDS = ("cat", "eel", "owl")


def columns(x=X):
    return {name: x[:, index] for index, name in enumerate(NAMES)}


class Arrow:
    """A table as pyarrow has it: names under another name, columns that only numpy can read."""

    def __init__(self, held):
        self.held, self.column_names = held, list(held)

    def __getitem__(self, name):
        return pandas.Series(self.held[name])


FRAME = pandas.DataFrame(columns())
FRAMES = {"pandas": pandas.DataFrame, "polars": polars.DataFrame, "arrow": Arrow}
SERIES = {
    "pandas": pandas.Series,
    "polars": polars.Series,
    "list": list,
    "array": np.array,
    "object": lambda y: np.array(y, object),
}


def assert_same_data(data, x=X, y=Y):
    want = from_torch((x, y))
    for (_, a, b), (_, c, d) in zip(data.parts(), want.parts(), strict=True):
        assert torch.equal(a, c) and torch.equal(b, d)


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_of_samples_and_its_label_column(kind):
    """The label column may stand anywhere, and is no feature."""
    held = {"kind": KINDS.tolist(), **columns()}
    data = from_torch(FRAMES[kind](held), label="kind")
    assert data.features == NAMES and data.classes == WORDS and data.x_train.dtype == torch.float32
    assert_same_data(data, y=np.searchsorted(WORDS, KINDS))


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_beside_labels(kind, series):
    data = from_torch((FRAMES[kind](columns()), SERIES[series](KINDS.tolist())))
    assert data.features == NAMES and data.classes == WORDS
    assert_same_data(data, y=np.searchsorted(WORDS, KINDS))


@pytest.mark.parametrize(
    "source",
    [
        (X.tolist(), Y.tolist()),
        (X, Y.tolist()),
        [X, Y],
        {"x": X, "y": Y},
        {"x": X.tolist(), "y": pandas.Series(Y)},
        {"x_train": X, "y_train": Y},
        (pandas.DataFrame(X), Y),
        (pandas.DataFrame(X), pandas.DataFrame(Y)),
        (X, pandas.Series(Y.astype(float))),
        ([torch.tensor(row) for row in X], torch.tensor(Y)),
        ([row for row in X], Y),
        [(row.tolist(), label) for row, label in zip(X, Y.tolist(), strict=True)],
    ],
    ids=range(12),
)
def test_other_holders_give_the_same(source):
    data = from_torch(source)
    assert data.features == () and data.classes == ("0", "1", "2")
    assert_same_data(data)


def test_parts_and_whole_dicts():
    """Test parts beside training parts, in every spelling."""
    for source in (
        {"train": (X, Y), "test": (X[:6], Y[:6])},
        {"train": {"x": X, "y": Y}, "test": {"x": X[:6], "y": Y[:6]}},
        {"x": X, "y": Y, "x_test": X[:6], "y_test": Y[:6]},
        {"x_train": X, "y_train": Y, "x_test": X[:6].tolist(), "y_test": Y[:6].tolist()},
    ):
        data = from_torch(source)
        assert len(data.x_train) == 30 and torch.equal(data.x_test, torch.tensor(X[:6]).float())


def test_columns_of_a_test_part_are_found_by_name():
    """Turned around they would be other features; what else stands there is left alone."""
    turned = pandas.DataFrame({"new": 0, **dict(reversed(columns().items()))})
    data = from_torch((pandas.DataFrame(columns()), KINDS), (turned, KINDS))
    assert torch.equal(data.x_train, data.x_test)
    whole = from_torch(pandas.DataFrame({**columns(), "label": KINDS}), polars.DataFrame({"label": KINDS, **columns()}))
    assert torch.equal(whole.x_train, whole.x_test)
    with refused("test", "no column 'height'", "as in training"):
        from_torch((pandas.DataFrame(columns()), KINDS), (turned.drop(columns="height"), KINDS))


def test_a_run_from_a_frame_is_used_with_frames(tmp_path):
    """Trained, told apart, evaluated and predicted by the names of the columns."""
    frame = pandas.DataFrame({**columns(X + 3 * np.eye(3)[Y]), "kind": KINDS})
    result = altprop.fit("bp", data=frame, label="kind", epochs=20, lr=0.05, out=tmp_path / "run")
    assert evaluate_run(tmp_path / "run", data=frame)["test_accuracy"] == result.test_accuracy > 0.8
    y_hat, classes = predict(tmp_path / "run", frame)
    assert classes == list(WORDS) and np.mean(np.array(classes)[y_hat.argmax(1)] == KINDS) > 0.8
    turned = frame[frame.columns[::-1]]
    assert torch.equal(predict(tmp_path / "run", turned)[0], y_hat)
    assert torch.equal(predict(tmp_path / "run", polars.DataFrame({n: frame[n].to_list() for n in NAMES}))[0], y_hat)
    assert torch.equal(predict(tmp_path / "run", frame[list(NAMES)].to_numpy())[0], y_hat)
    assert torch.equal(predict(tmp_path / "run", frame[list(NAMES)].to_numpy().tolist())[0], y_hat)
    with refused("no column 'width'"):
        predict(tmp_path / "run", frame.drop(columns="width"))
    same = altprop.fit("bp", data=(frame[list(NAMES)].to_numpy(), KINDS), epochs=20, lr=0.05, scale="standard")
    assert same_bits(same.net.state_dict(), result.net.state_dict())


LABELS = {
    "text": (KINDS.tolist(), WORDS),
    "booleans": ((Y == 1).tolist(), ("False", "True")),
    "array of booleans": (Y == 1, ("False", "True")),
    "tensor of booleans": (torch.tensor(Y == 1), ("False", "True")),
    "nullable booleans": (pandas.Series(Y == 1, dtype="boolean"), ("False", "True")),
    "polars booleans": (polars.Series(Y == 1), ("False", "True")),
    "categories": (pandas.Series(pandas.Categorical(KINDS, ["owl", "eel", "cat", "ant"])), ("owl", "eel", "cat")),
    "categories of numbers": (pandas.Series(Y / 2).astype("category"), ("0.0", "0.5", "1.0")),
    "intervals": (pandas.Series(pandas.cut(Y, [-1, 0, 1, 2])), ("(-1, 0]", "(0, 1]", "(1, 2]")),
    "polars enum": (polars.Series(KINDS.tolist(), dtype=polars.Enum(["owl", "eel", "cat"])), ("owl", "eel", "cat")),
    "polars categories": (polars.Series(KINDS.tolist(), dtype=polars.Categorical), WORDS),
    "whole numbers of a series": (pandas.Series(Y * 5 - 5), ("-5", "0", "5")),
    "nullable whole numbers": (pandas.Series(Y * 9 + 2, dtype="Int64"), ("2", "11", "20")),
    "whole floats of a series": (polars.Series(Y * 9.0 + 2), ("2", "11", "20")),
    "numbers as text": ([str(y * 9 + 2) for y in Y], ("2", "11", "20")),
    "codes as text": ([("007", "7", "10")[y] for y in Y], ("007", "10", "7")),
    "a column of text": (KINDS[:, None], WORDS),
    "a frame of one column": (pandas.DataFrame({"kind": KINDS}), WORDS),
}  # fmt: skip


@pytest.mark.parametrize("case", LABELS)
def test_names_of_classes(case):
    """In their own order where they have one; a class that no sample has is none."""
    y, classes = LABELS[case]
    data = from_torch((X, y), (X, y))
    assert data.classes == classes and torch.equal(data.y_train, data.y_test)
    column = y.iloc[:, 0] if isinstance(y, pandas.DataFrame) else y
    flat = np.asarray(column).ravel().tolist() if not isinstance(column, torch.Tensor) else column.tolist()
    named = [classes[label] for label in data.y_train]
    spelled = [str(int(v)) if isinstance(v, float) and "series" in case else str(v) for v in flat]
    assert named == spelled


def test_text_labels_of_streams():
    """Sample by sample, and as a loader collates them."""
    pairs = list(zip(torch.tensor(X), KINDS.tolist(), strict=True))
    for source in (pairs, DataLoader(pairs, batch_size=7)):
        data = from_torch(source, (X, KINDS))
        assert data.classes == WORDS and torch.equal(data.y_train, data.y_test)


@pytest.mark.parametrize("dtype", [int, bool, float, np.float16, np.uint8, "pandas", "polars", torch.bool])
def test_one_hot_rows_are_classes(dtype):
    rows = np.eye(3)[Y]
    if isinstance(dtype, str):
        y = FRAMES[dtype]({name: rows[:, index].astype(int) for index, name in enumerate(WORDS)})
    else:
        y = torch.tensor(rows).to(dtype) if isinstance(dtype, torch.dtype) else rows.astype(dtype)
    data = from_torch((X, y), (X, y))
    assert data.classes == (WORDS if isinstance(dtype, str) else ("0", "1", "2"))
    assert data.y_train.tolist() == data.y_test.tolist() == Y.tolist() and data.task == "classification"


BAD = {
    "sparse matrix": ((sparse.csr_matrix(X), Y), ["x_train is a csr_matrix", "x.toarray()"]),
    "sparse array": ((sparse.coo_array(X), Y), ["x_train is a coo_array", "x.toarray()"]),
    "sparse labels": ((X, sparse.csr_matrix(np.eye(3)[Y])), ["y_train is a csr_matrix", "toarray()"]),
    "sparse tensor": ((torch.tensor(X).to_sparse(), Y), ["x_train is a Tensor", "x.to_dense()"]),
    "masked": ((np.ma.masked_greater(X, 1), Y), ["MaskedArray", "x.filled"]),
    "structured": ((FRAME.to_records(index=False), Y), ["structured array", "width, height", "column_stack"]),
    "objects": ((X.astype(object), Y), ["array of object", "x.astype(float)"]),
    "objects as labels": ((X, Y.astype(object)), ["y_train is an array of object", "astype"]),
    "text": ((np.array([["a", "b"]] * 30), Y), ["array of <U1", "'a'", "expected numbers"]),
    "dates": ((np.array([["2020-01-01"]] * 30, dtype="M8[D]"), Y), ["datetime64", "expected numbers"]),
    "ragged": (([[1, 2], [3, 4], [5]], [0, 1, 0]), ["item 2 has 1 values", "item 0 has 2"]),
    "lazy": ((polars.LazyFrame(columns()), Y), ["LazyFrame", "collect()"]),
    "large": ((np.full((30, 1), 2**64 - 1, np.uint64), Y), ["18446744073709551615", "2**63"]),
    "text column": ((pandas.DataFrame({**columns(), "sex": "f"}), Y), ["column 'sex'", "'f'", "get_dummies"]),
    "category column": (polars.DataFrame({"label": Y, "a": KINDS.tolist()}), ["column 'a'", "'owl'", "to_dummies"]),
    "date column": ((FRAME.assign(day=pandas.Timestamp("2020")), Y), ["column 'day'", "datetime64"]),
    "missing cell": ((pandas.DataFrame({"a": [1.0, None] + [1.0] * 28}), Y), ["column 'a' is nan in row 1"]),
    "missing whole number": ((polars.DataFrame({"a": [1, None] * 15}), Y), ["column 'a' is nan in row 1"]),
    "missing boolean": ((pandas.DataFrame({"a": [True, None] * 15}, dtype="boolean"), Y), ["'a' is nan in row 1"]),
    "infinite cell": ((pandas.DataFrame({"a": [1.0, np.inf] * 15}), Y), ["column 'a' is inf in row 1"]),
    "twice": ((pandas.DataFrame(X, columns=["a", "b", "a"]), Y), ["column 'a' stands twice"]),
    "no label column": (pandas.DataFrame({**columns(), "kind": KINDS}), ["no column 'label'", "label=", "width"]),
    "only labels": (pandas.DataFrame({"label": KINDS}), ["no columns of features"]),
    "missing label": ((X, pandas.Series([None, *KINDS[1:]])), ["y_train: row 0", "no label"]),
    "missing label in a list": ((X, [*KINDS[1:], float("nan")]), ["y_train: row 29", "no label"]),
    "empty label": ((X, ["", *KINDS[1:]]), ["y_train: row 0", "no label"]),
    "labels of two types": ((X, [1, *KINDS[1:]]), ["int and", "one type"]),
    "rows in another order": ((FRAME, pandas.Series(KINDS).iloc[::-1]), ["another order", "y.loc[x.index]"]),
    "dict of other names": ({"features": X, "labels": Y}, ["features, labels", "expected x and y"]),
    "dict of half a test part": ({"x": X, "y": Y, "x_test": X}, ["x, y, x_test", "y_test"]),
    "counts": ((X, np.arange(60).reshape(30, 2)), ["(30, 2)", "rows (N, K) of 0 and 1"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_would_lose_its_meaning_is_refused_by_name(case):
    source, words = BAD[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with refused("custom", *words):
            from_torch(source)


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (KINDS, ["cat", "dog", "owl"], ["y_test: labels out of range", "'dog' in row 1", "'cat', 'eel', 'owl'"]),
        (KINDS, [0.5, 1.5, 2.5], ["y_test holds no labels", "'cat'"]),
        (pandas.Series(Y + 1), [1, 2, 4], ["y_test: labels out of range", "'4' in row 2"]),
        (Y, ["cat", "eel", "owl"], ["y_test", "expected numbers"]),
        (np.eye(3)[Y], np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]]), ["y_test: row 1", "not one-hot"]),
        (np.eye(3)[Y], np.eye(3)[:, :2], ["y_test has shape (3, 2)", "(N, 3)"]),
        (1 - np.eye(3)[Y], np.array([[1, 0, 0.5]] * 3), ["y_test: row 0", "not 0 and 1"]),
    ],
)
def test_test_labels_are_those_of_training(train, test, words):
    with refused(*words):
        from_torch((X, train), (X[:3], test))


def test_columns_are_numbers_and_never_pixels():
    """Indicators of 0 and 1 in bytes would else become 0 and 1/255."""
    held = pandas.DataFrame({"a": np.arange(30, dtype=np.uint8), "b": Y == 1})
    data = from_torch((held, Y), (held, Y))
    assert data.numeric().x_train.tolist() == [[float(i), float(i % 3 == 1)] for i in range(30)]
    pixels = TensorDataset(torch.tensor(held["a"].to_numpy())[:, None], torch.tensor(Y))
    assert from_torch(pixels).x_train.dtype == torch.uint8


def test_no_frame_library_is_imported():
    """They are read by what they can do; who has none of them waits for none."""
    sources = [path.read_text() for path in Path(altprop.__file__).parent.rglob("*.py")]
    assert sources and not any(re.search(r"^\s*(import|from) (pandas|polars|pyarrow)", text, re.M) for text in sources)
