"""What can be read out of features by simple means: accuracies of readouts that need no gradient descent.

They judge a layer that learned without labels by what a classifier on top of it could know.  Features are (N, *D), any
shape a sample, and labels (N,); every readout sees the training part and returns its accuracy on the test part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from altprop.core import Refused
from altprop.measure.probe import layers_of, undisturbed

CHUNK = 256  # samples at a time, through a layer and among neighbours
COLUMNS = 4096  # features at a time in float64, where there are more of them than samples


def ridge(features: Tensor, y: Tensor, features_test: Tensor, y_test: Tensor, strength: float = 1.0) -> float:
    """Accuracy of a linear readout, fitted to one-hot labels T by least squares in closed form:

        W, c = argmin |Z W + c - T|^2 + strength |W|^2,      Z the features standardised by the training part

    Solved in float64, for the D weights of each class or, where samples are fewer, for N coefficients in the span of Z.
    Raises ``Refused`` for a strength that is not above 0, and for features and labels that do not fit."""
    x, x_test = _checked(features, y, features_test, y_test)
    _check_strength(strength)
    T = F.one_hot(y.long()).double()  # (N, C)
    c = T.mean(0)
    if x.shape[1] <= len(x):
        Z, left = _standardised(x, x_test)  # (N, D), (N_test, D)
        system, right = Z.T @ Z, Z.T @ (T - c)  # (D, D), (D, C)
    else:
        system, right = c.new_zeros(len(x), len(x)), T - c  # (N, N), (N, C)
        left = c.new_zeros(len(x_test), len(x))
        for part in zip(x.split(COLUMNS, 1), x_test.split(COLUMNS, 1), strict=True):
            Z, Z_test = _standardised(*part)
            system += Z @ Z.T
            left += Z_test @ Z.T
    system.diagonal().add_(strength)
    return _accuracy((left @ torch.linalg.solve(system, right) + c).argmax(1), y_test)


def svc(features: Tensor, y: Tensor, features_test: Tensor, y_test: Tensor, strength: float = 1.0) -> float:
    """Accuracy of scikit-learn's linear support vector classifier on standardised features, C = 1 / strength.

    One class against the rest, squared hinge loss; drawn by seed 0.
    Raises ``Refused`` as ``ridge`` does, and for labels of one class alone."""
    x, x_test = _checked(features, y, features_test, y_test)
    _check_strength(strength)
    if len(y.unique()) < 2:
        raise Refused("labels of one class came, from which nothing separates: give samples of at least two")
    from sklearn.svm import LinearSVC  # a second of import, which who asks for no such readout need not wait for

    Z, Z_test = (part.cpu().numpy() for part in _standardised(x, x_test))
    machine = LinearSVC(C=1 / strength, dual="auto", random_state=0, max_iter=10_000).fit(Z, y.cpu().numpy())
    return _accuracy(torch.from_numpy(machine.predict(Z_test)), y_test.cpu())


def nearest(
    features: Tensor, y: Tensor, features_test: Tensor, y_test: Tensor, k: int = 5, metric: str = "cosine"
) -> float:
    """Accuracy of the vote of the k nearest training samples, by "cosine" or "euclid"; a tie goes to the lower label.

    Raises ``Refused`` for an unknown metric, fewer than k samples, and features and labels that do not fit."""
    if metric not in METRICS:
        raise Refused(f"unknown metric '{metric}'; there are {', '.join(METRICS)}")
    x, x_test = _checked(features, y, features_test, y_test)
    if not 1 <= k <= len(x):
        raise Refused(f"k is {k}; expected a number of neighbours from 1 to the {len(x)} training samples")
    x, x_test, offset = METRICS[metric](x, x_test)
    labels = F.one_hot(y.long())  # (N, C)
    votes = [labels[(part @ x.T - offset).topk(k).indices].sum(1) for part in x_test.split(CHUNK)]
    return _accuracy(torch.cat(votes).argmax(1), y_test)


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

    accuracies = {"input": read("input", x, x_test)}
    with undisturbed(rule):
        z, z_test = (_through(cuts[0].inlet, part) for part in (x, x_test))
        for below, above in pairwise(cuts):
            z, z_test = (_through(nn.Sequential(below.synapse, below.activation, above.inlet), p) for p in (z, z_test))
            accuracies[below.name] = read(below.name, _pooled(z, pool), _pooled(z_test, pool))
    return accuracies


def _through(modules: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([modules(part.clone()) for part in x.split(CHUNK)])  # a module in place would write into x


def _pooled(z: Tensor, pool: int | None) -> Tensor:
    """(N, C, H, W) -> (N, C, at most pool, at most pool); anything else as it is."""
    if pool is None or z.dim() != 4:
        return z
    return F.adaptive_avg_pool2d(z, (min(pool, z.shape[2]), min(pool, z.shape[3])))


def _cosine(x: Tensor, x_test: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return F.normalize(x), F.normalize(x_test), x.new_zeros(())


def _euclid(x: Tensor, x_test: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """-|x - x'|^2 / 2 = x' x - |x|^2 / 2, but for what is the same for every x."""
    centre = x.mean(0)  # far from the origin the difference would be lost in rounding
    x = x - centre
    return x, x_test - centre, x.square().sum(1) / 2


METRICS = {"cosine": _cosine, "euclid": _euclid}  # (x, x_test, offset): the nearest have the largest x' x - offset


def _standardised(x: Tensor, x_test: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, by mean and deviation of x; a feature that is constant there is only shifted."""
    constant = x.amax(0) == x.amin(0)  # whose deviation may be rounding
    x, x_test = x.double(), x_test.double()
    deviation, mean = torch.std_mean(x, 0, correction=0)
    deviation = deviation.masked_fill(constant, 1.0)
    return (x - mean) / deviation, (x_test - mean) / deviation


def _accuracy(predicted: Tensor, y: Tensor) -> float:
    return float((predicted == y).double().mean())


def _checked(features: Tensor, y: Tensor, features_test: Tensor, y_test: Tensor) -> tuple[Tensor, Tensor]:
    """Both features as floats (N, D)."""
    for part, x, labels in (("training", features, y), ("test", features_test, y_test)):
        if labels.dim() != 1 or labels.is_floating_point():
            raise Refused(f"targets {tuple(labels.shape)} of {labels.dtype} came; accuracies need class labels (N,)")
        if len(x) != len(labels) or not len(x):
            raise Refused(f"{len(x)} {part} samples and {len(labels)} labels came: give at least 1, and one label each")
        if not x.isfinite().all():
            raise Refused(f"the {part} features hold nan or infinity: take a net from before it diverged")
    if features[0].numel() != features_test[0].numel():
        what = f"training samples of {features[0].numel()} features and test samples of {features_test[0].numel()} came"
        raise Refused(f"{what}: take both from the same layer")
    x, x_test = (x.detach().flatten(1) for x in (features, features_test))
    return (x, x_test) if x.dtype in (torch.float32, torch.float64) else (x.float(), x_test.float())


def _check_strength(strength: float) -> None:
    if not 0 < strength < math.inf:
        raise Refused(f"strength {strength} came; expected a finite number above 0, such as 1")
