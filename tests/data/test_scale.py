"""Scales that the data decide, against NumPy in float64; regression in its own units, against the model's answers."""

import json
import warnings

import numpy as np
import pytest
import torch
from run_helpers import amounts, run_cli, toy, write_csv
from sklearn.datasets import load_wine

import altprop
from altprop.data import DATASETS, DataError, Dataset, DataWarning, far, from_torch, load
from altprop.data.scaling import statistics
from altprop.run.build import prepare
from altprop.run.directory.store import RunDirectory
from altprop.run.experiment import evaluate_run
from altprop.run.inputs import load_data, preprocessed
from altprop.run.values import make_recipe

QUICK = {"measure": False, "probe": False}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("rule", ["bp", "drtp"])
def test_a_raw_table_trains_by_the_defaults(tmp_path, rule):
    """Wine's columns reach from 0.1 to 1700: by drtp it stays at 39 % unscaled."""
    wine = load_wine()
    write_csv(tmp_path / "wine.csv", wine.data, wine.target_names[wine.target], "cultivar")
    result = altprop.fit(rule, data="wine.csv", label="cultivar", out="run", **QUICK)
    assert result.test_accuracy >= 0.94
    assert result.recipe.scale == result.summary()["scale"] == "standard"
    assert 'scale = "standard"' in (tmp_path / "run" / "recipe.toml").read_text()


@pytest.mark.parametrize("scale", ["none", "unit"])
def test_a_table_is_scaled_as_it_is_asked_for(tmp_path, scale):
    x, y = toy()
    write_csv(tmp_path / "t.csv", x, y)
    learner = prepare(make_recipe(data="t.csv", scale=scale), None)
    raw = load("t.csv").x_train
    expected = raw if scale == "none" else (raw - raw.amin(0)) / (raw.amax(0) - raw.amin(0))
    torch.testing.assert_close(learner.data.x_train, expected)
    assert learner.recipe.scale == scale


def test_constant_and_rare_columns_are_safe(tmp_path):
    """A column that never changes, and one that is 1 in a single row, divide by nothing and drown nothing."""
    x, y = toy()
    x = np.column_stack([x * 1000, np.full(60, 7.1), np.zeros(60), np.eye(60)[5]])
    write_csv(tmp_path / "t.csv", x, y)
    result = altprop.fit("bp", data="t.csv", **QUICK)
    assert result.test_accuracy == 1 and torch.isfinite(result.model.outputs(x)).all()


@pytest.mark.parametrize("scale", ["standard", "unit"])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_statistics_are_those_of_float64(scale, size):
    """Squares of 1e30 and of 1e-30 leave float32: inputs of zeros, or of infinity."""
    x = torch.from_numpy(np.random.default_rng(0).normal(3, 2, (50, 3)) * size).float()
    x[:, 1] = size
    offset, spread = statistics(x, scale)
    wide = x.double().numpy()
    want = (wide.mean(0), wide.std(0)) if scale == "standard" else (wide.min(0), np.ptp(wide, 0))
    want[1][1] = 1  # of the constant one
    np.testing.assert_allclose(offset.flatten().double(), want[0], rtol=1e-5)
    np.testing.assert_allclose(spread.flatten().double(), want[1], rtol=1e-5)


def test_differences_beyond_float32_are_refused():
    with pytest.raises(DataError, match=r"from -3e\+38 to 3e\+38 .* other units"):
        statistics(torch.tensor([[-3e38], [3e38]]), "unit")


def test_a_scale_upon_another_is_kept_as_both():
    """The model would otherwise undo the second alone."""
    raw = from_torch(tuple(map(torch.from_numpy, toy())))
    twice = raw.scaled("unit").scaled("standard")
    offset, spread = twice.scaling
    torch.testing.assert_close(twice.x_test, (raw.x_test - offset) / spread, rtol=1e-4, atol=1e-5)
    assert twice.scaled("standard") is twice and twice.raw == raw.original


torch.manual_seed(0)
FAR = {
    "pixels as floats": (torch.rand(9, 1, 4, 4) * 255, "largest feature"),
    "large numbers": (torch.randn(50, 4) * 300 + 1000, "largest feature"),
    "an offset": (torch.randn(50, 4) + 60, "largest feature"),
    "tiny numbers": (torch.randn(50, 4) * 1e-5, "largest feature"),
    "one that drowns the others": (torch.randn(50, 4) * torch.tensor([5.0, 0.01, 0.01, 0.01]), "half of them"),
}
NEAR = {
    "pixels": torch.rand(9, 1, 4, 4),
    "standardised": torch.randn(50, 4),
    "in [-1, 1]": torch.rand(50, 4) * 2 - 1,
    "images that are black at the border": torch.rand(50, 6) * torch.tensor([0, 0, 1e-4, 1, 1, 1]),
    "zeros": torch.zeros(9, 4),
    "bytes": torch.randint(256, (9, 4), dtype=torch.uint8),
}


def warned(x, **settings):
    """What is said of x when a run begins."""
    data = (x, torch.arange(len(x)) % 2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        altprop.fit(
            "bp", "4-2" if x.dim() == 2 and x.shape[1] == 4 else None, data, epochs=1, lr=1e-9, **QUICK, **settings
        )
    return [str(one.message) for one in said if issubclass(one.category, DataWarning)]


@pytest.mark.parametrize("case", FAR)
def test_floats_far_from_both_ranges_are_told(case):
    x, words = FAR[case]
    (line,) = warned(x)
    assert words in line and "--scale standard" in line and len(line) < 300 and "\n" not in line
    assert warned(x, scale="none") == warned(x, scale="standard") == []


@pytest.mark.parametrize("case", NEAR)
def test_usual_inputs_are_not(case):
    assert warned(NEAR[case]) == []
    assert NEAR[case].dtype == torch.uint8 or far(NEAR[case]) is None


def test_published_sets_and_old_recipes_are_as_they_were():
    """Finished results are found by the hash of what was asked for, and their numbers stay."""
    assert make_recipe(data="digits").experiment() == {}
    for name in ("digits", "drtp_regression"):
        data = prepare(make_recipe(data=name)).data
        assert torch.equal(data.x_train, load(name).x_train) and torch.equal(data.y_train, load(name).y_train)
    recipe = prepare(make_recipe(data="drtp_regression")).recipe
    assert (recipe.scale, recipe.target_scale, recipe.lr) == ("none", "none", 0.01 * 0.03)
    assert set(DATASETS) >= {"digits", "drtp_regression"}


@pytest.mark.parametrize("offset, spread", [(250_000, 45_000), (0, 1e-6)])
@pytest.mark.parametrize("rule", ["bp", "dfa", "drtp", "pepita"])
def test_regression_in_any_unit(tmp_path, rule, offset, spread):
    """At the default rates; losses of 1e10 diverged, and targets of 1e-6 taught nothing."""
    x, y = amounts(offset, spread)
    write_csv(tmp_path / "t.csv", x * [1, 100, 1e4, 0.01], [f"{value:.9e}" for value in y])
    result = altprop.fit(rule, data="t.csv", out="run", **QUICK)
    assert result.scores["r2"] > 0.75
    test = load("t.csv")
    y_hat, seen = result.model.predict(test.x_test).double().numpy(), test.y_test[:, 0].double().numpy()
    e = y_hat - seen
    assert result.metrics[-1]["test_loss"] == pytest.approx((e**2).mean() / 2, rel=1e-3)
    assert result.scores["rmse"] == pytest.approx((e**2).mean() ** 0.5, rel=1e-3)
    assert result.scores["mae"] == pytest.approx(np.abs(e).mean(), rel=1e-3)
    assert result.scores["r2"] == pytest.approx(1 - (e**2).mean() / seen.var(), abs=1e-3)
    assert evaluate_run("run")["test_rmse"] == result.scores["rmse"]
    x_train, y_train = test.x_train[: len(seen)], test.y_train[: len(seen), 0].double()
    trained = (result.model.predict(x_train).double() - y_train).square().mean() / 2
    assert result.metrics[-1]["loss"] == pytest.approx(float(trained), rel=1e-3)


def test_targets_of_different_units_weigh_alike():
    """Of two targets, the one in small units would otherwise never be learned."""
    x, y = amounts(0, 1)
    both = np.stack([1e6 * y, 1e-3 * y + 5], 1)
    result = altprop.fit("bp", data=(x, both), val=0.2, **QUICK)
    y_hat = result.model.predict(x).numpy()
    for column in range(2):
        assert ((y_hat - both)[:, column] ** 2).mean() < 0.3 * both[:, column].var()
    assert result.metrics[-1]["val_loss"] > 1e6, "in the targets' own units too"


def test_targets_that_are_bits_or_published_stay():
    x = torch.randn(40, 3)
    recipe = make_recipe(data="custom")
    for y in (torch.randint(2, (40, 3)).float(), torch.randn(40, 3)):
        data = preprocessed(from_torch((x, y)), recipe)
        assert (data.target_scaling is None) == bool(((y == 0) | (y == 1)).all())
        given = preprocessed(from_torch((x, y)), make_recipe(data="custom", target_scale="none"))
        assert given.target_scaling is None
    classes = Dataset("toy", x, torch.arange(40) % 2, x, torch.arange(40) % 2, ("a", "b"))
    with pytest.raises(DataError, match="target scale 'standard' came for classification"):
        classes.targets_scaled("standard")


def test_a_run_is_gone_on_with_on_the_same_numbers(tmp_path):
    """The recipe that was written down brings back every bit of what was trained on."""
    x, y = amounts(250_000, 45_000)
    write_csv(tmp_path / "t.csv", x * 100, y)
    altprop.fit("bp", data="t.csv", epochs=1, whiten="zca", val=0.1, out="run", **QUICK)
    run = RunDirectory.open(tmp_path / "run")
    first, again = load_data(make_recipe(data="t.csv", whiten="zca", val=0.1)), load_data(run.recipe())
    for part in ("x_train", "y_train", "x_test", "y_test", "x_val", "y_val"):
        assert torch.equal(getattr(first, part), getattr(again, part))
    mean, matrix = run.whitening()
    assert torch.equal(mean, again.whitening[0]) and torch.equal(matrix, again.whitening[1])
    assert run.recipe().scale == run.recipe().target_scale == "standard"


@pytest.mark.parametrize("regression", [False, True])
def test_a_run_from_before_scales_were_decided_means_none(tmp_path, regression):
    """Loaded, it must not be asked about scaled inputs, nor gone on with on them."""
    x, y = amounts(0.5, 1) if regression else toy()
    write_csv(tmp_path / "t.csv", x, y)
    settings = {"scale": "none", **({"target_scale": "none"} if regression else {})}
    result = altprop.fit("bp", data="t.csv", epochs=1, out="run", **settings, **QUICK)
    recipe, description = tmp_path / "run" / "recipe.toml", tmp_path / "run" / "data.json"
    recipe.write_text(
        "\n".join(line for line in recipe.read_text().splitlines() if not line.startswith(("scale", "target_scale")))
    )
    old = json.loads(description.read_text())
    description.write_text(
        json.dumps({key: old[key] for key in old if key not in ("target_scaling", "raw", "features", "table")})
    )
    model = altprop.load("run").model
    assert torch.equal(model.outputs(x), result.model.outputs(x)) and model.feature_names == ()
    assert evaluate_run("run")["test_loss"] == result.metrics[-1]["test_loss"]
    again = RunDirectory.open(tmp_path / "run").recipe()
    assert again == result.recipe


def test_compare_says_how_inputs_were_scaled(tmp_path, capsys):
    x, y = toy()
    write_csv(tmp_path / "t.csv", x * 1000, y)
    arguments = ["compare", "--data", "t.csv", "--rules", "bp", "--seeds", 2, "--epochs", 2, "--net", "6-3"]
    told = run_cli(capsys, *arguments, "--out", "c", "--json").json
    assert told["scale"] == "standard" and told["rows"][0]["test_r2_mean"] is None
    assert "t.csv, scale standard, 6-3" in run_cli(capsys, *arguments, "--out", "d").out


def test_compare_tells_the_share_of_variance_of_a_regression(tmp_path, capsys):
    x, y = amounts(250_000, 45_000)
    write_csv(tmp_path / "t.csv", x, y)
    arguments = ["compare", "--data", "t.csv", "--rules", "bp", "--seeds", 2, "--epochs", 20, "--out", "c"]
    told = run_cli(capsys, *arguments, "--json").json
    runs = [evaluate_run(f"c/bp-seed{seed}")["test_r2"] for seed in (0, 1)]
    (bp,) = (row for row in told["rows"] if row["rule"] == "bp")  # the best R2 stands first
    assert bp["test_r2_mean"] == pytest.approx(np.mean(runs))
