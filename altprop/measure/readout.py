"""What can be read out of features by simple means: accuracies of readouts that need no gradient descent.

They judge a layer that learned without labels by what a classifier on top of it could know.  Features are (N, *D), any
shape a sample, and labels (N,); every readout sees the training part and returns its accuracy on the test part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from altprop.core import Layer, Refused
from altprop.measure.linear import Fit, checked, fit_ridge, fit_svc
from altprop.measure.probe import layers_of, undisturbed

CHUNK = 256  # samples at a time, through a layer and among neighbours


def ridge(features: Tensor, y: Tensor, features_test: Tensor, y_test: Tensor, strength: float = 1.0) -> float:
    """Accuracy of ``fit_ridge``."""
    return _linear(fit_ridge, features, y, features_test, y_test, strength)


def svc(features: Tensor, y: Tensor, features_test: Tensor, y_test: Tensor, strength: float = 1.0) -> float:
    """Accuracy of ``fit_svc``."""
    return _linear(fit_svc, features, y, features_test, y_test, strength)


def nearest(
    features: Tensor, y: Tensor, features_test: Tensor, y_test: Tensor, k: int = 5, metric: str = "cosine"
) -> float:
    """Accuracy of the vote of the k nearest training samples, by "cosine" or "euclid"; a tie goes to the lower label.

    Raises ``Refused`` for an unknown metric, fewer than k samples, and features and labels that do not fit."""
    from sklearn.neighbors import KNeighborsClassifier

    if metric not in METRICS:
        raise Refused(f"unknown metric '{metric}'; there are {', '.join(METRICS)}")
    x, x_test = _fitting(features, y, features_test, y_test)
    if not 1 <= k <= len(x):
        raise Refused(f"k is {k}; expected a number of neighbours from 1 to the {len(x)} training samples")
    by = KNeighborsClassifier(k, metric=METRICS[metric], algorithm="brute")
    return float(by.fit(x.double().cpu(), y.cpu()).score(x_test.double().cpu(), y_test.cpu()))


METRICS = {"cosine": "cosine", "euclid": "euclidean"}  # as scikit-learn calls them
READOUTS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], float]] = {
    "ridge": ridge,
    "svc": svc,
    "nearest": nearest,
}


@torch.no_grad()
def by_depth(
    rule: nn.Module,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    readouts: Sequence[str] = ("ridge", "nearest"),
    *,
    pool: int | None = None,
) -> dict[str, dict[str, float]]:
    """Layer name -> readout -> accuracy on test, of what each hidden layer hands on; "input" is the raw input.

    train, test: (x (N, *in), y (N,) labels).  A layer's features are the input of the next layer's synapse, so behind
    the pooling between the two, in eval mode and thus without dropout.  pool: images of features are averaged down to
    at most pool x pool positions before they are read; the input and the net itself are not.
    rule: a rule, or a net that can be cut into layers; modes and random state are left as they were.
    Raises ``Refused`` for an unknown readout, a pool below 1, and what the readouts refuse, naming the layer."""
    unknown = [name for name in readouts if name not in READOUTS]
    if unknown or not readouts:
        raise Refused(f"unknown readouts {unknown} came; give at least one of {', '.join(READOUTS)}")
    if pool is not None and pool < 1:
        raise Refused(f"pool is {pool}; expected a number of positions of at least 1, or None")
    cuts = layers_of(rule)
    (x, y), (x_test, y_test) = train, test

    def read(place: str, x: Tensor, x_test: Tensor) -> dict[str, float]:
        try:
            return {name: READOUTS[name](x, y, x_test, y_test) for name in readouts}
        except Refused as error:
            raise Refused(f"features at '{place}': {error}") from error

    with undisturbed(rule):
        features, features_test = ([_handed_on(cuts, p, pool) for p in part.split(CHUNK)] for part in (x, x_test))
    accuracies = {"input": read("input", x, x_test)}
    for cut, z, z_test in zip(cuts, zip(*features, strict=True), zip(*features_test, strict=True), strict=False):
        accuracies[cut.name] = read(cut.name, torch.cat(z), torch.cat(z_test))
    return accuracies


def _handed_on(cuts: Sequence[Layer], x: Tensor, pool: int | None) -> list[Tensor]:
    """What every hidden layer hands on of x, (N, *D) each; of a layer with a row a time step its mean over time."""
    h, handed = x.clone(), []  # a module in place would write into x
    for below, above in pairwise(cuts):
        h = below(h)
        z = above.inlet(h.clone()).unflatten(0, (-1, len(x))).mean(0)
        handed.append(_pooled(z, pool))
    return handed


def _pooled(z: Tensor, pool: int | None) -> Tensor:
    """(N, C, H, W) -> (N, C, at most pool, at most pool); anything else as it is."""
    if pool is None or z.dim() != 4:
        return z
    return F.adaptive_avg_pool2d(z, (min(pool, z.shape[2]), min(pool, z.shape[3])))


def _linear(fit: Fit, features: Tensor, y: Tensor, features_test: Tensor, y_test: Tensor, strength: float) -> float:
    x_test = _fitting(features, y, features_test, y_test)[1]
    W, b = fit(features, y, strength=strength)
    return _accuracy(torch.cat([(part.double() @ W.T + b).argmax(1) for part in x_test.split(CHUNK)]), y_test)


def _accuracy(predicted: Tensor, y: Tensor) -> float:
    return float((predicted == y).double().mean())


def _fitting(features: Tensor, y: Tensor, features_test: Tensor, y_test: Tensor) -> tuple[Tensor, Tensor]:
    """Both features as floats (N, D)."""
    x, x_test = checked(features, y, "training"), checked(features_test, y_test, "test")
    if x.shape[1] != x_test.shape[1]:
        what = f"training samples of {x.shape[1]} features and test samples of {x_test.shape[1]} came"
        raise Refused(f"{what}: take both from the same layer")
    return x, x_test
