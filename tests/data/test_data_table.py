"""Tables in text: cells against an automaton of the grammar, dialects against the csv module, features by NumPy."""

import csv
import io
import json
import warnings
from decimal import Decimal

import numpy as np
import pytest
import torch
from data_helpers import refused
from hypothesis import given, settings
from hypothesis import strategies as st

from altprop.data import DataError, DataWarning, TableEncoding, encode, from_torch, load, read_features
from altprop.data.cells import numbers
from altprop.data.dataset import holdout
from altprop.data.dialect import read_sheet

# state -> kind of letter -> next state; the states in which a number may end
NEXT = {
    "start": {"sign": "signed", "digit": "whole", "point": "bare"},
    "signed": {"digit": "whole", "point": "bare"},
    "bare": {"digit": "part"},
    "whole": {"digit": "whole", "point": "part", "e": "power"},
    "part": {"digit": "part", "e": "power"},
    "power": {"sign": "minus", "digit": "exponent"},
    "minus": {"digit": "exponent"},
    "exponent": {"digit": "exponent"},
}
KINDS = {"+": "sign", "-": "sign", ".": "point", "e": "e", "E": "e", **dict.fromkeys("0123456789", "digit")}


def is_number(cell):
    state = "start"
    for letter in cell:
        state = NEXT.get(state, {}).get(KINDS.get(letter, "other"))
    return state in ("whole", "part", "exponent")


@given(st.lists(st.text("0159+-.eE_ \t\nxinfa,\u0663", max_size=7), min_size=1, max_size=3))
@settings(max_examples=400, deadline=None)
def test_a_number_is_what_the_automaton_accepts(cells):
    """Python's float takes 1_1, inf, nan and the digits of all scripts besides."""
    cells = [cell.strip() for cell in cells]
    values = numbers(cells)
    assert (values is not None) == all(map(is_number, cells))
    if values is not None:
        np.testing.assert_array_equal(values, [float(Decimal(cell)) for cell in cells])


def own(folder, text, encoding="utf-8", name="own.csv"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def of_labels(folder, labels, n=6):
    return own(folder, "a,label\n" + "".join(f"{i},{label}\n" for i, label in enumerate(list(labels) * n)))


def told(path, **options):
    """(data, warnings) of loading it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load(path, **options)
    return data, [str(entry.message) for entry in caught if issubclass(entry.category, DataWarning)]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "9", "+3", "-0"], ("0", "3", "9", "10")),  # as numbers, not as text
        (["3", "3.0", "3.", "2"], ("2", "3")),
        (["9007199254740992", "9007199254740991"], ("9007199254740991", "9007199254740992")),
        (["9007199254740993", "9007199254740992"], ("9007199254740992", "9007199254740993")),
        (
            ["12345678901234567890123", "12345678901234567890124"],
            ("12345678901234567890123", "12345678901234567890124"),
        ),
        (["9007199254740993", "9007199254740993.0"], ("9007199254740993", "9007199254740993.0")),
        (["1_1", "11"], ("11", "1_1")),
        (["007", "7"], ("007", "7")),
        (["1e3", "1000"], ("1000", "1e3")),
        (["0x10", "16"], ("0x10", "16")),
        (["\u0663", "3"], ("3", "\u0663")),
        (["3", "3.0", "x"], ("3", "3.0", "x")),
        (["1.5", "x"], ("1.5", "x")),
    ],
)
def test_labels_are_text_unless_all_are_plain_whole_numbers(tmp_path, labels, classes):
    data = load(of_labels(tmp_path, labels))
    assert data.classes == classes
    named = {int(x): classes[y] for x, y in zip(data.x_train[:, 0], data.y_train, strict=True)}
    for row, name in named.items():
        written = labels[row % len(labels)]
        assert name == written or (float(name) == float(written) and len(name) < 17)


@pytest.mark.parametrize("labels", [["0.5", "1"], ["1.50e1", "2"], ["1e-1", "007"], ["2.5", "9007199254740993"]])
def test_a_fraction_among_numbers_makes_targets(tmp_path, labels):
    data = load(of_labels(tmp_path, labels))
    assert data.task == "regression" and data.y_train.shape == (10, 1)
    assert sorted(data.y_train.unique().tolist()) == sorted(float(np.float32(float(label))) for label in labels)


@pytest.mark.parametrize("code", ["01234", "00", "-01", "2020_01", "9007199254740993", "9007199254740993.0"])
def test_codes_among_features_are_refused(tmp_path, code):
    text = f"zip,b,label\n1,2,x\n{code},2,y\n" * 1
    with refused("own.csv", "row 2 (line 3)", "column 'zip'", repr(code), "--categories zip", "leave"):
        load(own(tmp_path, text))


@pytest.mark.parametrize("cell", ["0", "-0", "0.5", "00.5", "+3", "3.", ".5", "1e20", "1E+2", "9007199254740992"])
def test_amounts_are_no_codes(tmp_path, cell):
    data = load(own(tmp_path, f"a,label\n{cell},x\n{cell},y\n" * 1 + f"{cell},x\n{cell},y\n"))
    assert data.x_train.unique().tolist() == [np.float32(float(cell))]


@pytest.mark.parametrize("cell", ["1_1", "inf", "0x1F", "\u0661", "1 2", "1,5", "--1", "1e", "$5", "5%", "red"])
def test_text_among_numbers_is_refused_with_an_offer(tmp_path, cell):
    text = f'a,b,label\n1,2,x\n1,"{cell}",y\n'
    with refused("own.csv", "row 2 (line 3)", "column 'b'", repr(cell), "--categories b"):
        load(own(tmp_path, text))


ROWS = [
    ["1.5", "-2", "plum, red"],
    ["0.25", "3", "p\u00e4r;2"],
    ["7", "1.5e2", "plum, red"],
    ["2.75", "4", "p\u00e4r;2"],
]


def written(separator, rows=ROWS, decimal=".", header=("a", "width; cm, in", "kind")):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator)
    writer.writerow(header)
    writer.writerows([[*(cell.replace(".", decimal) for cell in row[:-1]), row[-1]] for row in rows])
    return out.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), ("\t", "."), (";", "."), (";", ",")])
def test_dialects_are_told_from_the_file(tmp_path, separator, encoding, decimal):
    """The same numbers, names and labels, however the file writes them; quoted separators stand in every line."""
    data, lines = told(own(tmp_path, written(separator, ROWS * 2, decimal), encoding), label="kind")
    assert data.features == ("a", "width; cm, in") and data.classes == ("plum, red", "p\u00e4r;2")
    x = torch.cat([data.x_train, data.x_test])
    assert sorted(x.tolist()) == sorted([[float(cell) for cell in row[:2]] for row in ROWS * 2])
    assert len(lines) == (encoding == "cp1252") and all("cp1252" in line and "--encoding" in line for line in lines)


CELL = st.text("ab ,;\t\"'\n1.", max_size=5)


@given(st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=30), st.sampled_from(",;\t"))
@settings(max_examples=60, deadline=None)
def test_any_table_comes_back_as_the_csv_module_wrote_it(tmp_path_factory, rows, separator):
    out = io.StringIO()
    csv.writer(out, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([["x", "y", "z"], *rows])
    sheet = read_sheet(own(tmp_path_factory.mktemp("table"), out.getvalue()), ("x",))
    assert list(zip(*sheet.columns.values(), strict=True)) == [tuple(cell.strip() for cell in row) for row in rows]


def test_the_lines_must_agree_on_the_separator(tmp_path):
    """A header alone could be cut either way, and the first lines may end within a quoted cell."""
    sheet = read_sheet(own(tmp_path, "width, cm, in;b;c\n1;2;3\n"))
    assert list(sheet.columns) == ["width, cm, in", "b", "c"]
    rows = "1,x\n" * 18 + '"p\nq",x\n' * 3
    sheet = read_sheet(own(tmp_path, "a;b;c,kind\n" + rows))
    assert list(sheet.columns) == ["a;b;c", "kind"] and sheet.columns["a;b;c"][-1] == "p\nq"


def test_two_decimal_marks_are_refused_by_name(tmp_path):
    for text in ("a;b;label\n1,5;2;x\n2;2.25;y\n", "a;label\n1,5;x\n2.25;y\n", "a;label\n1,5;2.25\n2,5;3.5\n"):
        with refused("'2.25'", "'1,5'", "decimal"):
            load(own(tmp_path, text))


def test_separators_at_the_end_of_every_line_make_no_column(tmp_path):
    path = own(tmp_path, "a;label;;\n1,5;x;;\n2;y; ;\n" * 1 + "1,5;x;;\n2;y;;\n", name="own.tsv")
    assert load(path).features == ("a",) and read_features(path, (1,)).flatten().tolist() == [1.5, 2, 1.5, 2]
    with refused("column ''", "empty"):
        load(own(tmp_path, "a,label,\n1,x,\n2,y,7\n"))


def test_a_comma_between_tabs_is_no_decimal_mark(tmp_path):
    """It may group thousands: 1,234."""
    with refused("row 1 (line 2)", "column 'a'", "'1,234'"):
        load(own(tmp_path, "a\tlabel\n1,234\tx\n2,5\ty\n"))


def test_points_stay_numbers_between_semicolons(tmp_path):
    """And a comma in a label of text is none of a number."""
    data = load(own(tmp_path, "a;label\n1.5;1,5 kg\n2.5;big\n" * 1 + "1.5;1,5 kg\n2.5;big\n"))
    assert data.classes == ("1,5 kg", "big") and data.x_train.unique().tolist() == [1.5, 2.5]
    targets = load(own(tmp_path, "a;label\n" + "1;1,5\n2;3\n" * 3))
    assert targets.task == "regression" and targets.y_train.unique().tolist() == [1.5, 3]


def test_an_encoding_that_is_given_is_taken(tmp_path):
    path = own(tmp_path, "\u5e45,label\n" + "1,\u732b\n2,\u72ac\n" * 3, "shift_jis")
    data, lines = told(path, encoding="shift_jis")
    assert data.classes == ("\u72ac", "\u732b") and data.features == ("\u5e45",) and lines == []
    assert read_features(path, (1,), table=data.table, fallback="shift_jis").shape == (6, 1)
    for name in ("nonsense", "hex", "a\0b"):
        with refused("encoding", "utf-8"):
            load(path, encoding=name)
    with refused("own.csv", "line 1", "ascii", "--encoding"):
        load(path, encoding="ascii")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,label\n1,p\u00e4r\n2,pl\u00fcm\n".encode()[:-3] + b"\n", ["line 3", "utf-8"]),  # cut within a letter
        ("a,label\n1,x\n".encode("utf-16-le"), ["zero byte", "--encoding"]),
        (b'a,label\n1,"x\n2,y\n', ["line", "end of data"]),  # the quote would swallow the rest
        (b"a,label\n1,x,y\n", ["row 1 (line 2)", "3 cells", "expected 2"]),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, words):
    (tmp_path / "own.csv").write_bytes(content)
    with refused("own.csv", *words):
        load(tmp_path / "own.csv")


COLOURS = ["red", "blue", "007", "7", "red", "blue"]


def coloured(folder, colours=COLOURS, name="own.csv", labelled=True, n=4):
    rows = [f"{i},{colour},{i}.5" + f",{'xy'[i % 2]}" * labelled for i, colour in enumerate(list(colours) * n)]
    return own(folder, "\n".join(["a,colour,b" + ",label" * labelled, *rows]) + "\n", name=name)


def test_categories_become_one_feature_each(tmp_path):
    with refused("row 1 (line 2)", "column 'colour'", "'red'", "--categories colour"):
        load(coloured(tmp_path))
    data = load(coloured(tmp_path), categories=["colour"])
    assert data.features == ("a", "colour=007", "colour=7", "colour=blue", "colour=red", "b")
    for row in torch.cat([data.x_train, data.x_test]).tolist():
        colour = COLOURS[int(row[0]) % len(COLOURS)]
        assert row[1:5] == [float(name == colour) for name in ("007", "7", "blue", "red")] and row[5] == row[0] + 0.5


def test_new_samples_get_the_categories_of_training(tmp_path):
    """Fewer of them in the new file must not make fewer features, and others are no category."""
    table = load(coloured(tmp_path), categories=["colour"]).table
    x = read_features(coloured(tmp_path, ["blue"], "new.csv", labelled=False), (6,), table=table)
    np.testing.assert_array_equal(x, [[i, 0, 0, 1, 0, i + 0.5] for i in range(4)])
    with refused("new.csv", "row 2 (line 3)", "column 'colour'", "'pink'", "'blue'"):
        read_features(coloured(tmp_path, ["red", "pink"], "new.csv"), (6,), table=table)


@pytest.mark.parametrize(
    ("names", "words"), [(["color"], ["'color'", "did you mean 'colour'"]), (["label"], ["'label'", "no feature"])]
)
def test_categories_are_columns_of_features(tmp_path, names, words):
    with refused(*words):
        load(coloured(tmp_path), categories=names)


def test_a_column_of_names_is_no_category(tmp_path):
    with refused("1200 categories", "leave"):
        load(coloured(tmp_path, [f"n{i}" for i in range(1200)], n=1), categories=["colour"])
    with refused("'colour=red'", "rename"):
        load(own(tmp_path, "colour,colour=red,label\nred,1,x\n"), categories=["colour"])


HOLES = ["", "NA", "n/a", "NaN", "null", "?", " "]


def holed(folder, n=28):
    """Every fourth cell of b is none, written in every way; c is text."""
    cells = [HOLES[(i // 4) % len(HOLES)] if i % 4 == 1 else f"{i * i}.5" for i in range(n)]
    colours = ["?" if i % 7 == 3 else ("red", "blue")[i % 2] for i in range(n)]
    rows = [f"{i},{b},{c},{'uv'[i % 3 == 0]}\n" for i, (b, c) in enumerate(zip(cells, colours, strict=True))]
    return own(folder, "a,b,c,label\n" + "".join(rows)), np.array([i * i + 0.5 for i in range(n)]), np.array(colours)


@pytest.mark.parametrize("hole", HOLES)
def test_missing_values_are_refused_with_advice(tmp_path, hole):
    with refused("row 2 (line 3)", "column 'b'", "--missing drop", "mean"):
        load(own(tmp_path, f"a,b,label\n1,1,x\n1,{hole},y\n"))
    with refused("row 2 (line 3)", "column 'label'", "no label", "--missing drop"):
        load(own(tmp_path, f"a,b,label\n1,1,x\n1,1,{hole}\n"), missing="mean")


def test_drop_leaves_out_the_rows(tmp_path):
    path, _, colours = holed(tmp_path)
    data, lines = told(path, categories=["c"], missing="drop")
    kept = [i for i in range(28) if i % 4 != 1 and colours[i] != "?"]
    assert sorted(torch.cat([data.x_train, data.x_test])[:, 0].tolist()) == kept
    assert len(lines) == 1 and f"{28 - len(kept)} of 28 rows" in lines[0]
    text = path.read_text().replace("\n5,?", "\n5,oops").replace("4.5", "f.5")
    with refused("row 3 (line 4)", "'f.5'"):  # as the file counts, the row before it left out
        load(own(tmp_path, text), categories=["c"], missing="drop")


@pytest.mark.parametrize("val", [0.0, 0.25])
def test_mean_is_that_of_the_training_part(tmp_path, val):
    """A mean over held-out samples would let the test part into what the net is fed."""
    path, values, colours = holed(tmp_path)
    data = load(path, categories=["c"], missing="mean", val=val, seed=3)
    train = data.x_train[:, 0].long().numpy()
    b = np.where(train % 4 == 1, np.nan, values[train])
    red = np.where(colours[train] == "?", np.nan, colours[train] == "red")
    means = {"b": np.nanmean(b), "c=red": np.nanmean(red), "c=blue": 1 - np.nanmean(red), "a": train.mean()}
    assert data.table.means == pytest.approx([means[name] for name in data.features])
    for row in torch.cat([data.x_train, data.x_test]).tolist():
        i = int(row[0])
        assert row[1] == pytest.approx(means["b"] if i % 4 == 1 else values[i])
        assert row[3] == pytest.approx(means["c=red"] if colours[i] == "?" else float(colours[i] == "red"))
    new = own(tmp_path, "c,b,a\n?,NA,5\nred,2,\n", name="new.csv")
    x = read_features(new, (4,), table=data.table)
    expected = [[5, means["b"], means["c=blue"], means["c=red"]], [means["a"], 2, 0, 1]]
    np.testing.assert_allclose(x, expected, rtol=1e-6)


def test_no_means_no_prediction_from_holes(tmp_path):
    path, _, _ = holed(tmp_path)
    table = told(path, categories=["c"], missing="drop")[0].table
    for text, column in (("a,b,c\n1,NA,red\n", "'b'"), ("a,b,c\n1,1,?\n", "'c'")):
        with refused("row 1 (line 2)", f"column {column}", "--missing mean"):
            read_features(own(tmp_path, text, name="new.csv"), (4,), table=table)
    with refused("'b'", "training part"):
        load(own(tmp_path, "a,b,label\n" + "1,,x\n2,,y\n" * 3), missing="mean")
    with refused("every row"):
        load(own(tmp_path, "a,b,label\n" + "1,,x\n2,,y\n" * 3), missing="drop")


def test_columns_are_found_by_name(tmp_path):
    x = np.arange(18.0).reshape(6, 3)
    data = load(own(tmp_path, "a,b,c,label\n" + "".join(f"{r[0]},{r[1]},{r[2]},{i % 2}\n" for i, r in enumerate(x))))
    assert data.features == ("a", "b", "c") and data.split_validation(0.5, 0).table is data.table
    turned = own(
        tmp_path, "c,more,a,label,b\n" + "".join(f"{r[2]},no number,{r[0]},0,{r[1]}\n" for r in x), name="n.csv"
    )
    with pytest.warns(DataWarning, match=r"n\.csv: left out .*column 'more'$"):
        assert read_features(turned, (3,), table=data.table).tolist() == x.tolist()
    with pytest.warns(DataWarning, match="in their order"):
        assert read_features(own(tmp_path, "z,y,x\n1,2,3\n", name="n.csv"), (3,)).tolist() == [[1, 2, 3]]
    with refused("no column 'b'", "did you mean 'B'"):
        read_features(own(tmp_path, "a,B,c\n1,2,3\n", name="n.csv"), (3,), table=data.table)
    with refused("'a' stands twice"):
        read_features(own(tmp_path, "a,b,c,a\n1,2,3,4\n", name="n.csv"), (3,), table=data.table)


def test_a_data_set_is_turned_to_other_names(tmp_path):
    """Scaling and encoding turn with the columns."""
    data = load(coloured(tmp_path), categories=["colour"], missing="mean", scale="standard")
    names = ("b", "colour=007", "colour=7", "colour=blue", "colour=red", "a")
    turned = data.aligned(names)
    assert turned.features == turned.table.features == names and turned.aligned(data.features).table == data.table
    torch.testing.assert_close(turned.x_test[:, [5, 1, 2, 3, 4, 0]], data.x_test)
    torch.testing.assert_close(turned.scaling[0][:, [5, 0]], data.scaling[0][:, [0, 5]])
    assert turned.table.means[0] == data.table.means[5]
    with refused("no feature 'c'", "training"):
        data.aligned((*names[:-1], "c"))
    with pytest.warns(DataWarning, match="column 'a'"):
        assert data.aligned(names[:-1]).table.columns == ("b", "colour")


VALUES = {
    "lists": {"b": [1.5, 2.5], "colour": ["red", "7"], "a": [1, 2]},
    "text": {"a": [" 1", "2 "], "b": ["1.5", "2.5"], "colour": ["red", "7"]},
    "arrays": {"a": np.array([1, 2]), "b": np.array([1.5, 2.5], np.float16), "colour": np.array(["red", 7], object)},
}


@pytest.mark.parametrize("kind", VALUES)
def test_encode_takes_columns_of_any_kind(tmp_path, kind):
    table = load(coloured(tmp_path), categories=["colour"]).table
    x = encode(table, VALUES[kind])
    assert x.dtype == torch.float32 and x.tolist() == [[1, 0, 0, 0, 1, 1.5], [2, 0, 1, 0, 0, 2.5]]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": [1, 2], "b": [1, np.nan]}, ["row 1 (counted from 0)", "'b'", "--missing mean"]),
        ({"a": [1, 2], "b": [1, None]}, ["row 1", "'b'"]),
        ({"a": [1, 2], "b": [1, np.inf]}, ["row 1", "'b'", "finite"]),
        ({"a": [1, 2], "b": [1, "1_1"]}, ["row 1", "'b'", "'1_1'"]),
        ({"a": [1, 2], "b": [1, 2**53 + 1]}, ["row 1", "'b'", "9007199254740993"]),
        ({"a": [1, 2], "b": [1]}, ["'b'", "1 cells", "2"]),
        ({"a": [1, 2], "b": np.ones((2, 2))}, ["'b'", "(2, 2)"]),
        ({"a": [1, 2], "b": np.array(["2020-01", "2020-02"], "M8")}, ["'b'", "datetime64"]),
        ({"a": [1, 2]}, ["no column 'b'"]),
    ],
    ids=range(9),
)
def test_encode_refuses(columns, words):
    with refused(*words):
        encode(TableEncoding(("a", "b"), {}), columns)


def test_an_encoding_goes_through_json(tmp_path):
    table = load(coloured(tmp_path), categories=["colour"], missing="mean").table
    assert TableEncoding.from_state(json.loads(json.dumps(table.state()))) == table
    for key, value in (("columns", "abc"), ("categories", {"z": ["q"]}), ("means", [1.0]), ("label", 3), ("means", 7)):
        with refused("damaged"):
            TableEncoding.from_state({**table.state(), key: value})


def amounts(folder, n=60, name="own.csv"):
    return own(folder, "a,label\n" + "".join(f"{i},{200 + 7 * (i // 2)}\n" for i in range(n)), name=name)


def test_whole_amounts_are_told_and_by_the_task_are_targets(tmp_path):
    """30 classes of 2 samples each."""
    data, lines = told(amounts(tmp_path))
    assert len(data.classes) == 30 and len(lines) == 1
    assert all(word in lines[0] for word in ("own.csv", "30 classes", "2.0 samples", "--task regression"))
    targets, lines = told(amounts(tmp_path), task="regression")
    assert targets.y_train.shape == (48, 1) and targets.y_train.dtype == torch.float32 and lines == []
    assert targets.y_train[:, 0].tolist() == [200 + 7 * (int(i) // 2) for i in targets.x_train[:, 0]]
    data, lines = told(amounts(tmp_path), task="classification")
    assert len(data.classes) == 30 and lines == []


@pytest.mark.parametrize(("classes", "each", "lines"), [(21, 9, 1), (21, 10, 0), (20, 2, 0)])
def test_what_looks_like_amounts(tmp_path, classes, each, lines):
    assert len(told(of_labels(tmp_path, [str(i) for i in range(classes)], each))[1]) == lines
    y = np.arange(classes * each) % classes
    np.savez(tmp_path / "own.npz", x=np.ones((len(y), 2)), y=y)
    assert len(told(tmp_path / "own.npz")[1]) == lines


def test_a_slip_among_amounts_is_named(tmp_path):
    text = amounts(tmp_path).read_text().replace("\n7,221", "\n7,2l4.5")
    _, lines = told(own(tmp_path, text))
    assert len(lines) == 1 and "'2l4.5'" in lines[0] and "no number" in lines[0]


def test_a_class_of_one_sample_points_to_the_task(tmp_path):
    _, lines = told(own(tmp_path, "a,label\n" + "1,3\n2,4\n" * 4 + "3,99\n"))
    assert len(lines) == 1 and "'99' has one sample" in lines[0] and "--task" in lines[0]
    with refused("no class has 2 samples", "--task regression"):
        load(own(tmp_path, "a,label\n1,3\n2,4\n"))


def test_the_task_refuses_what_does_not_fit(tmp_path):
    with refused("row 2 (line 3)", "'0.5'", "fraction", "--task"):
        load(own(tmp_path, "a,label\n1,1\n2,0.5\n"), task="classification")
    with refused("row 2 (line 3)", "'oops'", "regression"):
        load(own(tmp_path, "a,label\n1,1\n2,oops\n"), task="regression")
    with refused("row 1 (line 2)", "'1e99'"):
        load(own(tmp_path, "a,label\n1,1e99\n2,1\n"), task="regression")
    for source in ("digits", amounts(tmp_path)):
        with refused("task 'ranking'"):
            load(source, task="ranking")
    with refused("digits", "task 'regression'", "classification"):
        load("digits", task="regression")
    for option in ({"categories": ["a"]}, {"missing": "drop"}, {"encoding": "utf-8"}):
        with refused(next(iter(option)), "digits", "leave it out"):
            load("digits", **option)
    with refused("missing 'zero'", "drop", "mean"):
        load(amounts(tmp_path), missing="zero")


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.uint8])
def test_the_task_of_arrays(tmp_path, kind):
    """Numbers with gaps are no labels, and need no renumbering where they are amounts."""
    x, y = np.ones((40, 2), np.float32), (np.arange(40) % 8 * 3 + 20).astype(kind)
    np.savez(tmp_path / "own.npz", x=x, y=y)
    with refused("without a gap", "--task regression"):
        load(tmp_path / "own.npz")
    pair = (torch.from_numpy(x), torch.from_numpy(y))
    for data in (load(tmp_path / "own.npz", task="regression"), from_torch(pair, task="regression")):
        assert data.task == "regression" and sorted(data.y_train.unique().tolist()) == list(range(20, 42, 3))
    with pytest.raises(DataError, match="fraction"):
        from_torch((pair[0], pair[0][:, 0] / 3), task="classification")


def test_thousands_of_columns(tmp_path):
    x = np.random.default_rng(0).normal(size=(6, 5000)).astype(np.float32)
    lines = [",".join([*(repr(float(v)) for v in row), str(i % 2)]) for i, row in enumerate(x)]
    path = own(tmp_path, ",".join([*(f"g{i}" for i in range(5000)), "label"]) + "\n" + "\n".join(lines) + "\n")
    data = load(path)
    keep, held = holdout(torch.arange(6) % 2, 0.2, 0)
    assert torch.equal(data.x_train, torch.from_numpy(x)[keep]) and torch.equal(data.x_test, torch.from_numpy(x)[held])
    with refused("row 3 (line 4)", "column 'g4999'", "'01'"):
        load(own(tmp_path, path.read_text().replace(f",{float(x[2, -1])!r},", ",01,")))
