"""Predictions against the arithmetic written out: the model file in plain modules, scaling by hand, softmax."""

import csv
import io

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from run_helpers import CLASSES, FEATURES, assert_refused, run_cli, toy, toy_file
from torch import nn

import altprop
from altprop.run.experiment import predict


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_file(tmp_path)


def train(**settings):
    return altprop.fit("bp", data="toy.npz", out="run", **{"net": "6-5-3", "epochs": 4, "lr": 0.05, **settings})


def by_hand(x, act=nn.ReLU):
    """The outputs of the model file in modules written by hand."""
    net = nn.Sequential(nn.Linear(FEATURES, 5), act(), nn.Linear(5, CLASSES))
    net.load_state_dict(safetensors.torch.load_file("run/model.safetensors"))
    with torch.no_grad():
        return net(torch.as_tensor(x)).numpy()


def softmax(z):
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def table(outcome):
    assert outcome.status == 0 and outcome.err == "", outcome.err
    header, *lines = csv.reader(io.StringIO(outcome.out))
    return header, lines


def new_samples():
    return toy(12, seed=9)[0]


def write_csv(path, x, label=None):
    names = [f"f{index}" for index in range(x.shape[1])]
    lines = [names, *([f"{value:.9g}" for value in row] for row in x)]
    if label is not None:
        lines = [["label", *names], *(["0", *line] for line in lines[1:])]
    path.write_text("".join(",".join(line) + "\n" for line in lines))


def assert_predicts(outcome, p):
    """Header, label, its probability, and one column a class."""
    header, lines = table(outcome)
    assert header == ["label", "probability", "p_0", "p_1", "p_2"]
    assert [line[0] for line in lines] == [str(index) for index in p.argmax(1)]
    numbers = np.array([[float(cell) for cell in line[1:]] for line in lines])
    np.testing.assert_allclose(numbers[:, 0], p.max(1), atol=2e-6)
    np.testing.assert_allclose(numbers[:, 1:], p, atol=2e-6)
    np.testing.assert_allclose(numbers[:, 1:].sum(1), 1, atol=3e-6)


@pytest.mark.parametrize("name", ["x.npz", "x_test.npz", "other.npz", "table.csv", "labelled.csv"])
def test_probabilities_of_every_kind_of_file(tmp_path, capsys, name):
    """The label column of a table must not enter as a feature, and rows keep their order."""
    train()
    x = new_samples()
    if name.endswith(".csv"):
        write_csv(tmp_path / name, x, "label" if name == "labelled.csv" else None)
    else:
        np.savez(tmp_path / name, **{{"other.npz": "samples"}.get(name, name[:-4]): x})
    outcome = run_cli(capsys, "predict", "run", name)
    if name.endswith(".csv"):  # training on an archive knew no names
        assert outcome.err.count("\n") == 1 and "in their order" in outcome.err
        outcome = outcome._replace(err="")
    assert_predicts(outcome, softmax(by_hand(x)))


@pytest.mark.parametrize("scale", ["unit", "standard"])
def test_scaling_is_that_of_training(tmp_path, capsys, scale):
    """New samples scaled by their own statistics, or not at all, give confident nonsense."""
    train(scale=scale)
    x, seen = new_samples(), toy()[0].astype(np.float64)
    offset, spread = (seen.min(0), np.ptp(seen, 0)) if scale == "unit" else (seen.mean(0), seen.std(0))
    np.savez("x.npz", x=x)
    p = softmax(by_hand(((x - offset) / spread).astype(np.float32)))
    assert_predicts(run_cli(capsys, "predict", "run", "x.npz"), p)


def test_dropout_is_off(tmp_path, capsys):
    """Two calls would otherwise differ, and both be wrong."""
    train(dropout=0.5)
    np.savez("x.npz", x=new_samples())
    net = nn.Sequential(nn.Linear(FEATURES, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, CLASSES)).eval()
    net.load_state_dict(safetensors.torch.load_file("run/model.safetensors"))
    with torch.no_grad():
        z = net(torch.as_tensor(new_samples())).numpy()
    assert_predicts(run_cli(capsys, "predict", "run", "x.npz"), softmax(z))


def test_binary_cross_entropy_is_normalised_over_classes(tmp_path, capsys):
    """Sigmoids do not sum to one; as probabilities of classes they must."""
    train(loss="binary_cross_entropy")
    np.savez("x.npz", x=new_samples())
    s = 1 / (1 + np.exp(-by_hand(new_samples())))
    assert_predicts(run_cli(capsys, "predict", "run", "x.npz"), s / s.sum(1, keepdims=True))


def test_label_is_the_one_that_evaluation_counts(tmp_path, capsys):
    """mse outputs may all be negative; the label is still the largest output, and probabilities still sum to 1."""
    train(loss="mse", lr=1e-6, epochs=1)
    x = np.random.default_rng(0).normal(size=(200, FEATURES)).astype(np.float32)
    z = by_hand(x)
    low = z.max(1) < 0
    assert low.any(), "the test needs samples whose outputs are all negative"
    np.savez("x.npz", x=x)
    _, lines = table(run_cli(capsys, "predict", "run", "x.npz"))
    assert [line[0] for line in lines] == [str(index) for index in z.argmax(1)]
    for line in lines:
        assert sum(float(cell) for cell in line[2:]) == pytest.approx(1, abs=3e-6)


def test_text_labels_come_back_as_text(tmp_path, capsys):
    """A user who trained on names does not know our numbers."""
    x, y = toy()
    names = ["cat", "dog", "eel"]
    lines = [[*(f"{v:.9g}" for v in row), names[label]] for row, label in zip(x, y, strict=True)]
    text = "".join(",".join(line) + "\n" for line in [["a", "b", "c", "d", "e", "f", "kind"], *lines])
    (tmp_path / "pets.csv").write_text(text)
    run_cli(capsys, "train", "bp", "--data", "pets.csv", "--label", "kind", "--epochs", 30, "--lr", 0.1, "--out", "run")
    header, predicted = table(run_cli(capsys, "predict", "run", "pets.csv"))
    assert header == ["label", "probability", "p_cat", "p_dog", "p_eel"]
    assert np.mean([line[0] == names[label] for line, label in zip(predicted, y, strict=True)]) > 0.95


def test_images(tmp_path, capsys):
    """A folder in the order of names, one image alone; pixels scaled as in training."""
    rng = np.random.default_rng(0)
    for kind, low in (("dark", 0), ("light", 128)):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(low, low + 128, (4, 5), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / kind / f"{index}.png")
    options = ["--net", "20-2", "--epochs", 60, "--lr", 0.5, "--no-measure", "--out", "run"]
    run_cli(capsys, "train", "bp", "--data", "set", *options)
    (tmp_path / "new").mkdir()
    stack = [np.full((4, 5), value, np.uint8) for value in (30, 220, 90)]
    for name, pixels in zip(("a", "b", "c"), stack, strict=True):
        Image.fromarray(pixels).save(tmp_path / "new" / f"{name}.png")
    net = nn.Sequential(nn.Linear(20, 2))
    model = safetensors.torch.load_file("run/model.safetensors")  # a Flatten stands before the one Linear
    net.load_state_dict({"0.weight": model["1.weight"], "0.bias": model["1.bias"]})
    with torch.no_grad():
        p = softmax(net(torch.from_numpy(np.stack(stack).reshape(3, 20)).float() / 255).numpy())
    header, lines = table(run_cli(capsys, "predict", "run", "new"))
    assert header == ["file", "label", "probability", "p_dark", "p_light"]
    assert [line[:2] for line in lines] == [["a.png", "dark"], ["b.png", "light"], ["c.png", "dark"]]
    np.testing.assert_allclose([[float(c) for c in line[3:]] for line in lines], p, atol=2e-6)
    assert table(run_cli(capsys, "predict", "run", "new/b.png"))[1] == lines[1:2]


def test_regression_gives_the_outputs(tmp_path, capsys):
    """No softmax, no labels: one column a target."""
    x, _ = toy()
    targets = np.stack([x[:, 0] - x[:, 1], x[:, 2]], 1)
    np.savez("regression.npz", x=x, y=targets)
    run_cli(capsys, "train", "bp", "--data", "regression.npz", "--net", "6-2", "--epochs", 150, "--lr", 0.05,
            "--no-measure", "--out", "run")  # fmt: skip
    np.savez("x.npz", x=x)
    header, lines = table(run_cli(capsys, "predict", "run", "x.npz"))
    assert header == ["y0", "y1"]
    np.testing.assert_allclose([[float(cell) for cell in line] for line in lines], targets, atol=0.05)


def test_out_writes_the_same_csv(tmp_path, capsys):
    """And nothing to standard output."""
    train()
    np.savez("x.npz", x=new_samples())
    printed = run_cli(capsys, "predict", "run", "x.npz")
    written = run_cli(capsys, "predict", "run", "x.npz", "--out", "predicted.csv")
    assert written == (0, "", "")
    assert (tmp_path / "predicted.csv").read_text() == printed.out


def test_more_samples_than_a_batch_keep_their_order():
    """Evaluation goes in batches of 1024."""
    result = train()
    x = torch.randn(2500, FEATURES, generator=torch.Generator().manual_seed(0))
    y_hat, classes = predict("run", x)
    assert classes == ["0", "1", "2"]
    result.net.eval()
    with torch.no_grad():
        torch.testing.assert_close(y_hat, result.net(x).softmax(1))


BAD = {
    "too few features": ("few.npz", lambda path: np.savez(path, x=np.zeros((3, 5), np.float32)), ["(5,)", "(6,)"]),
    "nan": ("nan.npz", lambda path: np.savez(path, x=np.full((3, 6), np.nan)), ["nan", "row 0", "column 0"]),
    "empty": ("empty.npz", lambda path: path.write_bytes(b""), ["empty"]),
    "no archive": ("text.npz", lambda path: path.write_text("hello, I am text"), ["npz"]),
    "text": ("text.csv", lambda path: path.write_text("a,b,c,d,e,f\n1,2,three,4,5,6\n"), ["row 1", "'c'", "'three'"]),
    "header only": ("header.csv", lambda path: path.write_text("a,b,c,d,e,f\n"), ["no rows"]),
    "no suffix known": ("x.txt", lambda path: path.write_text("1 2 3"), ["'.txt'"]),
    "missing": ("none.csv", lambda path: None, ["none.csv", "no such file"]),
    "no image": ("fake.png", lambda path: path.write_text("no image at all"), ["fake.png"]),
    "folder without images": ("folder", lambda path: path.mkdir(), ["PNG or JPEG"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_samples_are_refused(tmp_path, capsys, case):
    """A prediction of samples of another shape, or of NaN, would look like any other."""
    train(epochs=1)
    name, write, words = BAD[case]
    write(tmp_path / name)
    assert_refused(run_cli(capsys, "predict", "run", name), *words)
    assert_refused(run_cli(capsys, "predict", "run", name, "--out", "predicted.csv"), *words)
    assert not (tmp_path / "predicted.csv").exists()
