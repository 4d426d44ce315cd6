"""The model of a run, from raw samples to answers, against the net and the rule on inputs that are scaled by hand."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from run_helpers import CLASSES, FEATURES, amounts, assert_refused, csv_run, raw_toy, run_cli, toy, toy_file, write_csv
from torch import nn

import altprop
from altprop import RULES
from altprop.data import DataError, DataWarning, load
from altprop.measure import regression_scores
from altprop.run.evaluation import evaluate_new
from altprop.run.experiment import predict
from altprop.run.recipe import RunError

QUICK = {"measure": False, "probe": False}
OWN = {  # rules, and settings of theirs, whose inference is not the net's
    "ff": {}, "ep": {"readout": "inside"}, "ep_lif": {},
    "pepita": {"normalise": "sample"}, "som": {"masks": True}, "stdp": {},
}  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Frame:
    """As much of a data frame as pandas, polars and others share."""

    class Column:
        def __init__(self, values):
            self.values = values

        def to_numpy(self):
            return np.asarray(self.values)

    def __init__(self, columns):
        self.content, self.columns = columns, list(columns)

    def __getitem__(self, name):
        return self.Column(self.content[name])

    def to_numpy(self):
        return np.array([self.content[name] for name in self.columns], dtype=object).T


@pytest.mark.parametrize("name", RULES)
def test_raw_samples_through_the_model_are_scaled_ones_through_the_rule(tmp_path, name):
    """0.33 where 0.99 was trained: a net wants its inputs scaled, and does not say so."""
    x, y = raw_toy()
    arguments = OWN.get(name, {})
    scale = "standard" if RULES[name].domain is None else "unit"
    given = altprop.fit(name, "6-5-3", (x, y), scale=scale, epochs=2, arguments=arguments, out="run", **QUICK)
    loaded = altprop.load("run")
    offset, spread = (
        torch.tensor(part) for part in json.loads((tmp_path / "run" / "data.json").read_text())["scaling"]
    )
    scaled = (torch.from_numpy(x) - offset) / spread
    with torch.no_grad():
        z = loaded.rule(scaled)
        assert (name in OWN) == (not torch.equal(z, loaded.net(scaled)))
    assert torch.equal(loaded.model.outputs(x), z) and torch.equal(given.model.outputs(x), z)
    torch.testing.assert_close(loaded.model.predict_proba(x), z.softmax(1))
    assert loaded.model.predict(x).tolist() == [str(int(index)) for index in z.argmax(1)]
    net, rule = loaded
    assert net is loaded.net and rule is loaded.rule


def test_columns_are_found_by_their_names(tmp_path):
    """In any order, with more beside them; one that lacks is named."""
    x, y = raw_toy()
    write_csv(tmp_path / "t.csv", x, [f"kind {label}" for label in y], "kind")
    model = altprop.fit("bp", data="t.csv", label="kind", epochs=20, **QUICK).model
    names = [f"f{index}" for index in range(FEATURES)]
    assert model.feature_names == tuple(names) and model.classes == ("kind 0", "kind 1", "kind 2")
    expected = model.predict(x)
    assert (expected == [f"kind {label}" for label in y]).all()
    turned = Frame({name: x[:, index] for index, name in reversed([*enumerate(names)])})
    assert (model.predict(turned) == expected).all()
    more = Frame({"kind": ["?"] * len(x), **turned.content})
    with pytest.warns(DataWarning, match="left out what training did not have: column 'kind'"):
        assert (model.predict(more) == expected).all()
    with pytest.raises(DataError, match="has no column 'f3'; expected it, as in training"):
        model.predict(Frame({name: x[:, 0] for name in names if name != "f3"}))
    with pytest.raises(DataError, match=r"column 'f2'.*expected numbers"):
        model.predict(Frame({**turned.content, "f2": ["a"] * len(x)}))


BAD = {
    "channels last": (np.zeros((3, 5, 4, 1)), r"\(5, 4, 1\).*\(1, 4, 5\)"),
    "height for width": (np.zeros((3, 1, 5, 4)), r"\(1, 5, 4\).*\(1, 4, 5\)"),
    "flat": (np.zeros((3, 20)), r"\(20,\).*\(1, 4, 5\)"),
    "one alone": (np.zeros((1, 4, 5)), r"x\[None\]"),
    "none": (np.zeros((0, 1, 4, 5), np.uint8), "no samples"),
    "not finite": (np.full((2, 1, 4, 5), np.nan), "nan"),
    "text": (np.full((2, 1, 4, 5), "a"), "expected numbers"),
    "pixels as floats": (np.full((2, 1, 4, 5), 200.0), "up to 200.*uint8"),
    "negative pixels": (np.full((2, 1, 4, 5), -1), "int64.*uint8"),
}


@pytest.fixture
def images():
    """A run on bytes."""
    x = np.random.default_rng(0).integers(0, 256, (40, 1, 4, 5), dtype=np.uint8)
    y = (x[..., :2].mean((1, 2, 3)) > x[..., 3:].mean((1, 2, 3))).astype(int)
    return altprop.fit("bp", "20-2", (x, y), epochs=1, out="run", **QUICK), x


@pytest.mark.parametrize("case", BAD)
def test_samples_of_another_shape_or_kind_are_refused(images, case):
    """Reshaped, they would be answered like any other."""
    x, words = BAD[case]
    for model in (images[0].model, altprop.load("run").model):
        with pytest.raises(DataError, match=words):
            model.predict(x)


def test_pixels_are_bytes_or_fractions(images):
    """Whatever type holds them; what a run saw as bytes it takes as bytes."""
    result, x = images
    expected = result.model.outputs(x)
    for same in (x / 255, x.astype(np.int64), torch.from_numpy(x), x.tolist()):
        torch.testing.assert_close(result.model.outputs(same), expected)
    with torch.no_grad():
        torch.testing.assert_close(result.net(torch.from_numpy(x / 255).float()), expected)


def test_bytes_are_numbers_where_training_saw_numbers():
    """A column of small integers is no pixel, and neither is an image whose floats went up to 255."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    for shape, high in (((4,), 200), ((1, 2, 2), 200), ((4,), 1)):
        x = rng.integers(0, high + 1, (60, *shape))
        model = altprop.fit("bp", "4-2", (x.astype(np.float64), y), scale="standard", epochs=1, **QUICK).model
        torch.testing.assert_close(model.outputs(x.astype(np.uint8)), model.outputs(x.astype(np.float32)))
    fractions = altprop.fit("bp", "4-2", (x / 1.0, y), epochs=1, **QUICK).model
    seen = rng.integers(0, 256, (9, 4), dtype=np.uint8)
    torch.testing.assert_close(fractions.outputs(seen), fractions.outputs(seen / 255))


@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_whitening_stays_with_the_run(tmp_path, capsys, kind):
    """It was refused; the oracle is the accuracy that the run reports of its own test part."""
    result = altprop.fit("bp", data="digits", whiten=kind, scale="standard", epochs=2, out="run", **QUICK)
    digits = load("digits")
    model = altprop.load("run").model
    right = (model.predict(digits.x_test) == [digits.classes[label] for label in digits.y_test]).mean()
    assert right == pytest.approx(result.test_accuracy)
    np.savez("x.npz", x=digits.x_test[:4])
    assert run_cli(capsys, "predict", "run", "x.npz").out.count("\n") == 5
    (tmp_path / "run" / "whitening.safetensors").unlink()
    assert_refused(run_cli(capsys, "predict", "run", "x.npz"), "whitening.safetensors", "train it anew")


def test_asking_leaves_net_statistics_and_modes_as_they_were():
    net = nn.Sequential(nn.Linear(FEATURES, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, CLASSES))
    x, y = toy()
    model = altprop.fit("bp", net, (x, y), epochs=1, **QUICK).model
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.testing.assert_close(model.outputs(x), model.outputs(x))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_more_samples_than_a_batch_keep_their_order():
    x, y = toy()
    model = altprop.fit("bp", data=(x, y), epochs=2, **QUICK).model
    many = torch.randn(2500, FEATURES)
    with torch.no_grad():
        torch.testing.assert_close(model.outputs(many), model.eval()(many))


def test_regression_answers_in_its_own_units(tmp_path):
    """One target comes as (N,), several as (N, K); there are no probabilities."""
    x, y = amounts(250_000, 45_000)
    model = altprop.fit("bp", data=(x, np.stack([y, -y], 1)), epochs=30, out="run", **QUICK).model
    both = model.predict(x)
    assert both.shape == (len(x), 2) and abs(float(both[:, 0].mean()) - 250_000) < 5_000
    assert torch.equal(predict("run", torch.from_numpy(x))[0], both)
    assert altprop.fit("bp", data=(x, y), epochs=1, **QUICK).model.predict(x).shape == (len(x),)
    with pytest.raises(RunError, match="no classes: use predict"):
        model.predict_proba(x)


def test_regression_scores_are_those_of_numpy():
    """Each target by itself; a constant one has no variance to share."""
    rng = np.random.default_rng(0)
    y, e = rng.normal(5, [1, 100], (40, 2)), rng.normal(0, [0.5, 20], (40, 2))
    got = regression_scores(torch.from_numpy(y + e), torch.from_numpy(y))
    assert got["r2"] == pytest.approx((1 - (e**2).mean(0) / y.var(0)).mean())
    assert got["mae"] == pytest.approx(np.abs(e).mean()) and got["rmse"] == pytest.approx(
        ((e**2).mean(0) ** 0.5).mean()
    )
    assert regression_scores(torch.ones(3, 1), torch.ones(3, 1)) == {"r2": None, "mae": 0, "rmse": 0}
    with pytest.raises(altprop.Refused, match="both must be"):
        regression_scores(torch.ones(3), torch.ones(3, 1))


def test_eval_on_a_new_table(tmp_path, capsys):
    """Columns turned, another label column, one class missing, classes in another order: by name, and every row."""
    model, x, y = csv_run(tmp_path)
    few = np.flatnonzero(y != "kind 0")[::-1]
    names = [f"f{index}" for index in range(FEATURES)][::-1]
    write_csv(tmp_path / "new.csv", x[few][:, ::-1], y[few], "what", names)
    told = run_cli(capsys, "eval", "run", "--data", "new.csv", "--label", "what", "--json").json
    z = model.outputs(x[few])
    truth = torch.tensor([model.classes.index(name) for name in y[few]])
    assert (told["samples"], told["part"], told["data"]) == (len(few), "all", "new.csv")
    assert told["test_accuracy"] == float((z.argmax(1) == truth).double().mean()) > 0.9
    assert told["test_loss"] == pytest.approx(float(nn.functional.cross_entropy(z, truth)), rel=1e-5)
    write_csv(tmp_path / "one.csv", x[:1], y[:1], "kind")
    assert run_cli(capsys, "eval", "run", "--data", "one.csv", "--json").json["samples"] == 1


def test_eval_refuses_what_training_did_not_know(tmp_path, capsys):
    _, x, y = csv_run(tmp_path)
    write_csv(tmp_path / "new.csv", x[:2], ["kind 0", "kind 7"], "kind")
    assert_refused(run_cli(capsys, "eval", "run", "--data", "new.csv"), "'kind 7'", "kind 2")
    write_csv(tmp_path / "new.csv", x[:2, :5], y[:2], "kind")
    assert_refused(run_cli(capsys, "eval", "run", "--data", "new.csv"), "no column 'f5'")
    write_csv(tmp_path / "new.csv", x[:2], ["0.5", "0.25"], "kind")
    assert_refused(run_cli(capsys, "eval", "run", "--data", "new.csv"), "label '0.5' has a fraction")
    assert_refused(run_cli(capsys, "eval", "run", "--label", "kind"), "--data")


def test_eval_on_new_arrays_and_images(tmp_path, capsys):
    """A test part is taken where there is one; labels of arrays are numbers, of folders names."""
    toy_file(tmp_path)
    altprop.fit("bp", data="toy.npz", epochs=5, out="toy", **QUICK)
    plain, new = (run_cli(capsys, "eval", "toy", *more, "--json").json for more in ([], ["--data", "toy.npz"]))
    assert new["part"] == "test" and all(
        new[key] == pytest.approx(plain[key]) for key in ("test_loss", "test_accuracy")
    )
    x, y = toy(9)
    np.savez("new.npz", x=x[y == 2], y=y[y == 2])
    assert evaluate_new("toy", "new.npz")["samples"] == 3
    rng = np.random.default_rng(0)
    for folder, kinds in (("set", ("dark", "light")), ("new", ("light",))):
        for kind in kinds:
            (tmp_path / folder / kind).mkdir(parents=True)
            for index in range(8):
                pixels = rng.integers(0, 100, (4, 5), dtype=np.uint8) + (100 if kind == "light" else 0)
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / folder / kind / f"{index}.png")
    altprop.fit("bp", "20-2", "set", epochs=60, lr=0.5, out="seen", **QUICK)
    told = evaluate_new("seen", "new")
    assert (told["samples"], told["test_accuracy"]) == (8, 1.0)


@pytest.mark.parametrize("whole", [False, True])
def test_eval_of_a_regression_on_new_data(tmp_path, whole):
    """Whole amounts, which a table alone would take for classes, are targets where training had targets."""
    x, y = amounts(250_000, 45_000)
    write_csv(tmp_path / "t.csv", x, y, "price")
    model = altprop.fit("bp", data="t.csv", label="price", epochs=20, out="run", **QUICK).model
    y = y.round() if whole else y
    write_csv(
        tmp_path / "new.csv", x[:30], [f"{value:.0f}" if whole else f"{value!r}" for value in y[:30].tolist()], "price"
    )
    told = evaluate_new("run", "new.csv")
    e = model.predict(x[:30]).double().numpy() - y[:30]
    assert told["test_rmse"] == pytest.approx((e**2).mean() ** 0.5, rel=1e-4)
    assert told["test_r2"] == pytest.approx(1 - (e**2).mean() / y[:30].var(), rel=1e-4)
    assert told["test_loss"] == pytest.approx((e**2).mean() / 2, rel=1e-4) and told["samples"] == 30
