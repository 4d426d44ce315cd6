"""Linear readouts that need no gradient descent: weights and biases in closed form, or from scikit-learn.

Features are (N, *D), any shape a sample, and labels (N,)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from altprop.core import Refused

CHUNK = 4096  # samples, or features, at a time in float64


def fit_ridge(features: Tensor, y: Tensor, classes: int | None = None, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """(W (C, D), b (C,)) in float64: the linear readout of least squares to one-hot labels T, in closed form:

        V, c = argmin |Z V^T + c - T|^2 + strength |V|^2,    Z the features standardised;   W x + b = V z + c

    Solved for the D weights of each class or, where samples are fewer, for N coefficients in the span of Z.
    classes: C, where y need not hold them all.  Raises ``Refused`` for a strength that is not above 0, and for
    features and labels that do not fit."""
    x = checked(features, y, "training")
    _check_strength(strength)
    T = F.one_hot(y.long(), classes or -1).double()  # (N, C)
    c, (mean, deviation) = T.mean(0), _spread(x)
    wide = x.shape[1] > len(x)
    system = c.new_zeros((len(x) if wide else x.shape[1],) * 2)
    right = T - c if wide else c.new_zeros(x.shape[1], len(c))  # (N, C) or (D, C)
    columns = [slice(place, place + CHUNK) for place in range(0, x.shape[1], CHUNK)]
    if wide:
        for some in columns:
            Z = _standard(x, mean, deviation, some)
            system += Z @ Z.T
    else:
        for part, t in zip(x.split(CHUNK), (T - c).split(CHUNK), strict=True):
            Z = _standard(part, mean, deviation)
            system += Z.T @ Z
            right += Z.T @ t
    system.diagonal().add_(strength)
    V = torch.linalg.solve(system, right).T  # (C, D), or (C, N) where still to be spanned
    if wide:
        V = torch.cat([V @ _standard(x, mean, deviation, some) for some in columns], 1)
    return _unstandardised(V, c, mean, deviation)


def fit_svc(features: Tensor, y: Tensor, classes: int | None = None, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """(W (C, D), b (C,)) of scikit-learn's linear support vector classifier on standardised features, C = 1 / strength.

    One class against the rest, squared hinge loss; drawn by seed 0.
    Raises ``Refused`` as ``fit_ridge`` does, and for labels of one class alone."""
    x = checked(features, y, "training")
    _check_strength(strength)
    if len(y.unique()) < 2:
        raise Refused("labels of one class came, from which nothing separates: give samples of at least two")
    from sklearn.svm import LinearSVC  # a second of import, which who asks for no such readout need not wait for

    mean, deviation = _spread(x)
    machine = LinearSVC(C=1 / strength, dual="auto", random_state=0, max_iter=10_000)
    machine.fit(_standard(x, mean, deviation).cpu().numpy(), y.cpu().numpy())
    v, c = torch.from_numpy(machine.coef_).to(mean), torch.from_numpy(machine.intercept_).to(mean)
    v, c = (torch.cat([-v, v]), torch.cat([-c, c])) if len(v) == 1 else (v, c)  # of two classes it keeps one
    known = torch.from_numpy(machine.classes_).to(mean.device)
    V = v.new_zeros(classes or int(y.max()) + 1, v.shape[1]).index_copy(0, known, v)
    c = v.new_full((len(V),), -1.0).index_copy(0, known, c)  # that is where a class without samples ends
    return _unstandardised(V, c, mean, deviation)


Fit = Callable[..., tuple[Tensor, Tensor]]
FITS: dict[str, Fit] = {"ridge": fit_ridge, "svc": fit_svc}


def _spread(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (D,) of every feature in float64; of one that is constant, whose deviation is rounding, 1."""
    parts = [torch.std_mean(part.double(), 0, correction=0) for part in x.split(CHUNK, 1)]
    deviation, mean = (torch.cat(each) for each in zip(*parts, strict=True))
    return mean, deviation.masked_fill(x.amax(0) == x.amin(0), 1.0)


def _standard(x: Tensor, mean: Tensor, deviation: Tensor, columns: slice = slice(None)) -> Tensor:
    return (x[:, columns].double() - mean[columns]) / deviation[columns]


def _unstandardised(V: Tensor, c: Tensor, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    W = V / deviation
    return W, c - W @ mean


def checked(features: Tensor, y: Tensor, part: str) -> Tensor:
    """The features of that part as floats (N, D)."""
    if y.dim() != 1 or y.is_floating_point():
        raise Refused(f"targets {tuple(y.shape)} of {y.dtype} came; accuracies need class labels (N,)")
    if len(features) != len(y) or not len(features):
        raise Refused(f"{len(features)} {part} samples and {len(y)} labels came: give at least 1, and one label each")
    if not features.isfinite().all():
        raise Refused(f"the {part} features hold nan or infinity: take a net from before it diverged")
    x = features.detach().flatten(1)
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _check_strength(strength: float) -> None:
    if not 0 < strength < math.inf:
        raise Refused(f"strength {strength} came; expected a finite number above 0, such as 1")
