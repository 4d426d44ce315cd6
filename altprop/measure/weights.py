"""How large weights are, and how they are distributed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from altprop.core import Refused
from altprop.measure.probe import layers_of

FITTED = 5_000  # weights at most that a fit sees
POINTS = 200  # quantile points at most
FEWEST = 8


class Fit(NamedTuple):
    """One distribution fitted to weights by maximum likelihood."""

    parameters: tuple[float, ...]  # (mean, standard deviation), or (degrees of freedom, location, scale)
    log_likelihood: float
    aic: float  # 2 x number of parameters - 2 x log-likelihood; the lower fits better
    quantiles: np.ndarray  # (m, 2): theoretical, observed; on the diagonal where the distribution is the right one


class Distribution(NamedTuple):
    """The two fits of ``weight_distribution``."""

    normal: Fit
    student: Fit
    samples: int  # weights that were fitted, over which likelihoods are summed


def norms(rule: nn.Module) -> dict[str, float]:
    """The Frobenius norm of each synapse's weight, by layer name, of a rule or of a net that can be cut into layers.

    Of a synapse without a ``weight``, that of all of its parameters together."""
    return {layer.name: _norm(layer.synapse) for layer in layers_of(rule)}


def unit_norms(rule: nn.Module) -> dict[str, float]:
    """The Euclidean norm of a unit's weights, averaged over units, by layer name; of layers with a weight (units, ...),
    and of transposed convolutions, whose units are the channels that come out.

    Oja's rule, SoftHebb and their like lead it to 1."""
    weights = {layer.name: _by_unit(layer.synapse) for layer in layers_of(rule)}
    known = {name: weight for name, weight in weights.items() if isinstance(weight, Tensor) and weight.dim() > 1}
    return {name: float(weight.detach().flatten(1).norm(dim=1).mean()) for name, weight in known.items()}


def weight_distribution(weight: Tensor) -> Distribution:
    """Fit a Normal and a Student-t distribution to the entries of a weight of any shape.

    Of more than 5000 entries the fits see 5000, evenly spaced among the sorted ones, to take less than a second;
    likelihoods are of these.  Quantiles, at most 200, are taken at the probabilities (i + 1/2) / m.
    Raises ``Refused`` for fewer than 8 entries, entries that are not finite, and entries that are all the same.
    Source: the analysis of weights after training in Dellaferrera and Kreiman 2022, section 4.4."""
    from scipy import stats  # a second of import, which who fits no distribution need not wait for

    values = np.sort(weight.detach().flatten().double().cpu().numpy())
    if len(values) < FEWEST:
        raise Refused(f"{len(values)} weights came; a distribution needs at least {FEWEST}: give a whole weight matrix")
    if not np.isfinite(values).all():
        raise Refused(
            "the weights hold nan or infinity; a fit needs finite numbers: take them from before the run broke"
        )
    mean, spread = float(values.mean()), float(values.std())
    if spread <= 1e-12 * abs(mean):
        raise Refused(f"all weights are {mean:g}, which has no distribution: fit weights that were drawn or trained")
    sample = _spaced(values, FITTED)
    # The search behind t.fit stops at absolute differences, which are nothing beside weights of 1e-4: it needs a scale.
    degrees, location, scale = stats.t.fit((sample - mean) / spread)
    return Distribution(
        _fit(stats.norm, tuple(map(float, stats.norm.fit(sample))), sample, values),
        _fit(stats.t, (float(degrees), float(location * spread + mean), float(scale * spread)), sample, values),
        len(sample),
    )


def _by_unit(synapse: nn.Module) -> Tensor | None:
    """Its weight, a row a unit."""
    weight, groups = getattr(synapse, "weight", None), getattr(synapse, "groups", 1)
    if weight is None or not getattr(synapse, "transposed", False):
        return weight
    return weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)  # of (in, out / groups, *kernel)


def _norm(synapse: nn.Module) -> float:
    weight = getattr(synapse, "weight", None)
    tensors = [weight] if isinstance(weight, Tensor) else list(synapse.parameters())
    return float(sum(float(tensor.detach().double().square().sum()) for tensor in tensors) ** 0.5)


def _spaced(values: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` of sorted values, at the middle of as many equal parts; the extremes stand for themselves only
    where all of them are taken, or they would weigh as much as the many they are drawn from."""
    m = min(count, len(values))
    return values[((np.arange(m) + 0.5) * len(values) / m).astype(np.int64)]


def _fit(family: Any, parameters: tuple[float, ...], sample: np.ndarray, values: np.ndarray) -> Fit:
    log_likelihood = float(family.logpdf(sample, *parameters).sum())
    observed = _spaced(values, POINTS)
    theoretical = family.ppf((np.arange(len(observed)) + 0.5) / len(observed), *parameters)
    aic = 2 * len(parameters) - 2 * log_likelihood
    return Fit(parameters, log_likelihood, aic, np.stack([theoretical, observed], axis=1))
