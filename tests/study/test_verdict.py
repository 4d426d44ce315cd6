"""Verdicts by equivalence, held against the textbook's interval."""

from itertools import product

import numpy as np
import pytest
from reproduce_helpers import places, pretend, row
from scipy import stats

from altprop.study.papers import status


def expected(values, published, deviation, runs):
    """(difference, low, high, verdict), written down anew with numpy and scipy."""
    if published is None:
        return None, None, None, "run"
    d, half = np.mean(values) - published, 0.0
    if len(values) > 1:
        ours = stats.sem(values) * stats.t(len(values) - 1).isf(0.025)
        half = np.hypot(ours, 1.96 * (deviation or 0) / np.sqrt(runs or 1))
    limit = max(0.25, 2 * deviation if deviation else 0)
    apart = max(d - half - limit, -limit - d - half)  # from the interval's nearer end to the tolerance's
    sticks_out = max(d + half - limit, -limit - d + half)  # of its farther end
    bounds = (d - half, d + half) if len(values) > 1 else (None, None)
    word = ("below", "above")[int(d > 0)] if apart > 0 else "consistent"
    return d, *bounds, "reproduced" if sticks_out <= 0 and len(values) > 1 else word


SCATTERS = [[0.0], [-0.1, 0.1], [-0.3, 0.0, 0.3], [-0.02, -0.01, 0.0, 0.01, 0.02]]


@pytest.mark.parametrize("runs", [None, 10])
@pytest.mark.parametrize(("published", "deviation"), [(None, None), (50.0, None), (50.0, 0.05), (50.0, 0.4)])
def test_verdict_by_textbook(tmp_path, published, deviation, runs):
    """A wrong quantile, a tolerance of one deviation, a difference the wrong way round, overlap for equivalence."""
    extra = "".join(
        f", {k} = {v}" for k, v in (("published", published), ("published_std", deviation)) if v is not None
    )
    head = f"published_runs = {runs}\n" if runs else ""
    where = places(tmp_path, {"p/t": f'{head}[row]\na = {{ net = "64-10"{extra} }}'})
    verdicts = set()
    for shift, scatter in product((-3, -0.9, -0.5, -0.24, 0, 0.26, 0.7, 0.82, 3), SCATTERS):
        values = [50.0 + shift + s for s in scatter]
        for old in where.results.glob("p/t/a/*"):
            old.unlink()
        pretend(where, "p/t/a", [[0.1, value / 100] for value in values])
        found = status(row(where, "p/t/a"), where.results)
        d, low, high, word = expected(values, published, deviation, runs)
        assert found["verdict"] == word and found["n"] == len(values), (shift, scatter)
        for key, value in (("difference", d), ("difference_low", low), ("difference_high", high)):
            assert found[key] == (None if value is None else pytest.approx(value, abs=1e-9)), (key, shift, scatter)
        verdicts.add(word)
    assert verdicts == ({"run"} if published is None else {"reproduced", "consistent", "above", "below"})


def test_what_differs_by_its_interval_is_not_reproduced(tmp_path):
    """An interval that excludes zero and pokes out of the tolerance was once a reproduced slowness."""
    table = '[row]\na = { net = "64-10", published = 50.0 }'
    where = places(tmp_path, {"p/t": table})
    pretend(where, "p/t/a", [[0.1, 0.5015], [0.1, 0.502], [0.1, 0.503]])
    found = status(row(where, "p/t/a"), where.results)
    assert found["difference_low"] > 0 and found["difference_high"] > 0.25 and found["verdict"] == "consistent"
