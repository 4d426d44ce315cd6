"""Shapes of samples must be those of training: a table of what users do to axes, and what the message says then."""

import numpy as np
import pytest
import torch
from data_helpers import refused
from PIL import Image
from run_helpers import assert_refused, run_cli
from torch import nn

import altprop
from altprop.data import DataError, Dataset, from_torch
from altprop.data.shapes import advice, channels_last
from altprop.run.experiment import evaluate_run, predict
from altprop.run.recipe import RunError

AXES = {  # shape of x, of a sample in training -> the line that makes one of the other
    "channels last, RGB": ((5, 32, 32, 3), (3, 32, 32), "x.transpose(0, 3, 1, 2)"),
    "channels last, grey": ((5, 28, 28, 1), (1, 28, 28), "x.transpose(0, 3, 1, 2)"),
    "channels last, oblong": ((5, 8, 32, 4), (4, 8, 32), "x.transpose(0, 3, 1, 2)"),
    "channels first": ((5, 3, 8, 32), (8, 32, 3), "x.transpose(0, 2, 3, 1)"),
    "height and width": ((5, 1, 8, 32), (1, 32, 8), "x.transpose(0, 1, 3, 2)"),
    "height and width, no channel": ((5, 8, 32), (32, 8), "x.transpose(0, 2, 1)"),
    "sequences": ((5, 40, 3), (3, 40), "x.transpose(0, 2, 1)"),
    "volumes": ((5, 4, 6, 7, 2), (2, 4, 6, 7), "x.transpose(0, 4, 1, 2, 3)"),
    "no channel": ((5, 28, 28), (1, 28, 28), "x[:, None]"),
    "a channel too many": ((5, 1, 28, 28), (28, 28), "x.reshape(-1, 28, 28)"),
    "an axis too many": ((5, 6, 1), (6,), "x.reshape(-1, 6)"),
    "flat": ((5, 64), (1, 8, 8), "x.reshape(-1, 1, 8, 8)"),
    "not flat": ((5, 1, 8, 8), (64,), "x.reshape(-1, 64)"),
    "no batch axis": ((3, 32, 32), (3, 32, 32), "x[None]"),
    "no batch axis, flat": ((6,), (6,), "x[None]"),
    "no batch axis, channels last": ((8, 32, 3), (3, 8, 32), "x.transpose(2, 0, 1)[None]"),
    "no batch nor channel": ((28, 28), (1, 28, 28), "x.reshape(-1, 1, 28, 28)"),
}


@pytest.mark.parametrize("case", AXES)
def test_what_was_done_to_the_axes_is_undone(case):
    """The line that the message gives, run as it stands, makes samples of the shape of training of the same entries."""
    came, expected, line = AXES[case]
    said = advice(came, expected)
    assert line in said
    x = np.arange(np.prod(came)).reshape(came)
    made = eval(line, {"x": x})
    assert made.shape[1:] == expected and sorted(made.flat) == list(range(x.size))


@pytest.mark.parametrize(
    ("came", "expected", "words"),
    [
        ((5, 1, 48, 16), (3, 16, 16), "no order of the axes"),
        ((5, 4, 4, 4), (2, 32), "no order of the axes"),
        ((5, 7), (6,), "the same features"),
        ((5, 3, 16, 16), (3, 32, 32), "the same features"),
        ((5, 3, 32, 32), (1, 32, 32), "the same features"),
    ],
)
def test_other_shapes_are_no_reordering(came, expected, words):
    assert words in advice(came, expected)


LAYOUTS = {  # shape of a sample -> whether its channels stand last, of pixels and of floats
    (32, 32, 3): (True, True),
    (28, 28, 1): (True, True),
    (8, 8, 1): (True, True),
    (480, 640, 3): (True, True),
    (64, 64, 4): (True, True),
    (3, 32, 32): (False, False),
    (1, 28, 28): (False, False),
    (1, 28, 3): (False, False),
    (3, 5, 3): (False, False),
    (64, 4, 4): (True, False),  # features of a convolution
    (512, 1, 1): (True, False),
    (256, 3, 3): (True, False),
    (22, 1000, 1): (True, False),  # channels of an electroencephalogram
    (6, 128, 3): (True, False),
    (16, 5, 5): (False, False),
}


@pytest.mark.parametrize("shape", LAYOUTS)
def test_images_with_channels_last_are_told_from_features(shape):
    """Floats may be features of any kind: they are refused only where nothing else is likely."""
    pixels, floats = LAYOUTS[shape]
    assert channels_last(shape, pixels=True) == pixels and channels_last(shape, pixels=False) == floats


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("side", [(32, 32, 3), (8, 8, 1)])
def test_training_sets_with_channels_last_are_refused(dtype, side):
    """Taken as 32 channels of 32x3 they would train, and worse."""
    x, y = np.zeros((20, *side), dtype), np.arange(20) % 2
    with refused(f"{side}", "(channels, height, width)", "x.transpose(0, 3, 1, 2)"):
        from_torch((x, y))
    assert from_torch((x.transpose(0, 3, 1, 2), y)).shape == (side[2], *side[:2])


def test_who_is_sure_makes_the_data_set():
    x, y = torch.zeros(20, 32, 32, 3), torch.arange(20) % 2
    with refused("make an altprop.data.Dataset of them yourself"):
        from_torch((x, y))
    assert Dataset("own", x, y, x, y, ("a", "b")).shape == (32, 32, 3)


def test_pixels_without_a_channel_axis_are_grey_images():
    """A convolution would else run along their rows."""
    x, y = np.zeros((20, 12, 8), np.uint8), np.arange(20) % 2
    data = from_torch((x, y), (x[:4], y[:4]))
    assert data.shape == (1, 12, 8) and data.x_test.shape == (4, 1, 12, 8)
    assert from_torch((x.astype(np.float32), y)).shape == (12, 8)  # a sequence of 12 channels


def test_square_floats_without_a_channel_axis_are_not_convolved():
    x, y = np.zeros((20, 28, 28), np.float32), np.arange(20) % 2
    with pytest.raises(RunError, match=r"\(28, 28\).*x\[:, None\].*nn.Conv1d"):
        altprop.fit("bp", "conv4k3-2", data=(x, y))
    net = nn.Sequential(nn.Conv1d(28, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(52, 2))
    altprop.fit("bp", net, data=(x, y), epochs=1)
    altprop.fit("bp", "conv4k3-2", data=(x[:, None], y), epochs=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.transpose(0, 2, 3, 1), "x.transpose(0, 3, 1, 2)"),
        (lambda x: x.transpose(0, 1, 3, 2), "x.transpose(0, 1, 3, 2)"),
        (lambda x: x[:, 0], "x[:, None]"),
        (lambda x: x.reshape(len(x), -1), "x.reshape(-1, 1, 6, 4)"),
    ],
)
def test_test_parts_have_the_shape_of_training(tmp_path, change, words):
    """In arrays and in an .npz."""
    x, y = np.random.default_rng(0).normal(size=(20, 1, 6, 4)).astype(np.float32), np.arange(20) % 2
    with refused("x_test", words):
        from_torch((x, y), (change(x), y))
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=change(x), y_test=y)
    with pytest.raises(DataError) as caught:
        altprop.fit("bp", data=tmp_path / "own.npz")
    assert words in str(caught.value)


@pytest.fixture(scope="module")
def image_run(tmp_path_factory):
    """A run on grey images of 8x12, by a net that flattens and would take any shape of 96 entries."""
    path = tmp_path_factory.mktemp("images") / "run"
    x = np.random.default_rng(0).normal(size=(20, 1, 8, 12)).astype(np.float32)
    altprop.fit("bp", "96-2", data=(x, np.arange(20) % 2), epochs=1, out=path)
    return path, x


CHANGES = {
    "channels last": (lambda x: x.transpose(0, 2, 3, 1), "x.transpose(0, 3, 1, 2)"),
    "turned": (lambda x: x.transpose(0, 1, 3, 2), "x.transpose(0, 1, 3, 2)"),
    "no channel": (lambda x: x[:, 0], "x[:, None]"),
    "flat": (lambda x: x.reshape(20, 96), "x.reshape(-1, 1, 8, 12)"),
    "one sample": (lambda x: x[0], "x[None]"),
    "other sides": (lambda x: x.reshape(20, 1, 16, 6), "no order of the axes"),
    "other features": (lambda x: x[:, :, :7], "the same features"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_predictions_of_another_shape_are_refused(image_run, tmp_path, capsys, case):
    """They would be answered, and wrongly."""
    (path, x), (change, words) = image_run, CHANGES[case]
    with refused("(1, 8, 12)", "as in training", words):
        predict(path, change(x))
    np.savez(tmp_path / "new.npz", x=change(x))
    assert_refused(run_cli(capsys, "predict", path, tmp_path / "new.npz"), "(1, 8, 12)", words)
    assert len(predict(path, x)[0]) == 20


def test_pictures_of_another_shape_are_refused(image_run, tmp_path, capsys):
    Image.fromarray(np.zeros((12, 8), np.uint8)).save(tmp_path / "turned.png")
    Image.fromarray(np.zeros((8, 12), np.uint8)).save(tmp_path / "right.png")
    assert_refused(run_cli(capsys, "predict", image_run[0], tmp_path / "turned.png"), "(1, 12, 8)", "(1, 8, 12)")
    assert run_cli(capsys, "predict", image_run[0], tmp_path / "right.png").status == 0


def test_grey_pixels_are_predicted_as_they_were_trained(tmp_path):
    """(N, H, W) of bytes means the same in training and after."""
    x = np.random.default_rng(0).integers(0, 256, (20, 6, 5)).astype(np.uint8)
    altprop.fit("bp", "30-2", data=(x, np.arange(20) % 2), epochs=1, out=tmp_path / "run")
    left, right = (predict(tmp_path / "run", part)[0] for part in (x, x[:, None]))
    assert torch.equal(left, right)
    with refused("(5, 6)", "(1, 6, 5)"):
        predict(tmp_path / "run", x.transpose(0, 2, 1))


def test_evaluation_wants_the_shape_of_training(image_run):
    path, x = image_run
    with pytest.raises(RunError, match=r"x.transpose\(0, 1, 3, 2\)"):
        evaluate_run(path, data=(x.transpose(0, 1, 3, 2), np.arange(20) % 2))
