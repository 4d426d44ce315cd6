"""What `from_torch` makes of tensors, torch data sets and loaders."""

import numpy as np
import pytest
import torch
from data_helpers import refused
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from altprop.data import from_torch

X, Y = torch.arange(40.0).reshape(20, 2), torch.arange(20) % 2


class Indexed(torch.utils.data.Dataset):
    """As many torch data sets are: it has a length, yet never raises IndexError."""

    def __len__(self):
        return 20

    def __getitem__(self, i):
        return X[i % 20], int(Y[i % 20])


class Streamed(IterableDataset):
    def __len__(self):
        return 20

    def __iter__(self):
        return iter(zip(X, Y, strict=True))


@pytest.mark.parametrize(
    "source",
    [
        (X, Y),
        (X.numpy(), Y.numpy()),
        TensorDataset(X, Y),
        Indexed(),
        Streamed(),
        DataLoader(TensorDataset(X, Y), batch_size=7),
        DataLoader(TensorDataset(X, Y), batch_size=None),
        DataLoader(Streamed(), batch_size=6),
        [(x, y) for x, y in zip(X.numpy(), Y.tolist(), strict=True)],
    ],
    ids=lambda source: type(source).__name__,
)
def test_from_torch_takes_what_torch_users_have(source):
    data = from_torch(source, (X[:4], Y[:4]), name="mine")
    assert torch.equal(data.x_train, X) and torch.equal(data.y_train, Y)
    assert data.y_train.dtype == torch.int64 and (data.name, data.classes) == ("mine", ("0", "1"))


def test_from_torch_holds_a_stratified_fifth_out():
    first, again, other = (from_torch((X, Y), seed=seed) for seed in (0, 0, 1))
    assert torch.bincount(first.y_test).tolist() == [2, 2] and len(first.x_train) == 16
    assert torch.equal(first.x_test, again.x_test) and not torch.equal(first.x_test, other.x_test)


@pytest.mark.parametrize(
    ("y", "task", "outputs"),
    [
        (torch.arange(20) % 4, "classification", 4),
        ((torch.arange(20) % 4)[:, None], "classification", 4),
        ((torch.arange(20) % 4).float(), "classification", 4),
        ((torch.arange(20) % 4).to(torch.uint8), "classification", 4),
        ((torch.arange(20) % 2).bool(), "classification", 2),
        (torch.arange(20) / 4, "regression", 1),
        (torch.ones(20, 1), "regression", 1),
        (torch.ones(20, 6, dtype=torch.float64), "regression", 6),
    ],
)
def test_what_y_means(y, task, outputs):
    data = from_torch((X, y))
    assert (data.task, data.outputs) == (task, outputs)
    assert data.y_train.dtype == (torch.int64 if task == "classification" else torch.float32)


def test_the_training_part_decides_what_y_means():
    data = from_torch((X, X[:, 0] / 8), (X[:2], torch.tensor([1.0, 2.0])))
    assert data.task == "regression" and data.y_test.tolist() == [[1.0], [2.0]]
    with refused("y_test: labels out of range", "0.5 in row 1", "whole numbers"):
        from_torch((X, Y), (X[:2], torch.tensor([1.0, 0.5])))


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ((X, Y + 1), ["labels out of range", "2 different labels from 1 to 2", "0 to 1"]),
        ((X, Y * 2), ["labels out of range", "from 0 to 2", "without a gap"]),
        ((X, Y - 1), ["labels out of range", "from -1 to 0"]),
        ((X, Y * 0), ["only 1 class", "at least 2"]),
        ((X, torch.arange(60).reshape(20, 3)), ["shape (20, 3)", "rows (N, K) of 0 and 1"]),
        ((X, Y[:5]), ["20 samples", "5 labels"]),
        ((X[:0], Y[:0]), ["is empty"]),
        ((X[:2], Y[:2]), ["no class has 2 samples"]),
        ((X, np.array(["cat"] * 20)), ["only 1 class (cat)", "at least 2"]),
        ((X.numpy().astype(object), Y), ["x_train is an array of object"]),
        ((X.to(torch.complex64), Y), ["complex64", "real numbers"]),
        ((np.full((20, 2), 1e300), Y), ["x_train is inf", "row 0, column 0"]),
        ([], ["holds no samples"]),
        ([(X[0], 0), (X[1, :1], 0)], ["item 1 has x (1,)", "x (2,)"]),
        ([(X[0], 0), X[1]], ["item 1 is (Tensor)", "(tensor, label or target)"]),
        ([("picture", 0)], ["item 0 is (str, int)", "PILToTensor"]),
        ("mnist", ["is str", "a torch Dataset, a DataLoader"]),
        (7, ["is int", "a torch Dataset"]),
    ],
    ids=range(18),
)
def test_from_torch_refuses(train, words):
    with refused("custom", *words):
        from_torch(train)
