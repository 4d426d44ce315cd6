"""CMA-ES against the authors' own short code, purecma of the package cma, told of the same candidates."""

import numpy as np
import pytest
import torch

from altprop.searches import CMAES
from altprop.tasks import Rosenbrock, Sphere

purecma = pytest.importorskip("cma.more_algorithms.purecma", reason="altprop[cma] is not installed")


@pytest.mark.parametrize("task", [Sphere(6), Rosenbrock(6)], ids=["sphere", "rosenbrock"])
def test_state_after_20_generations_is_purecma_s(task):
    """Mean, step, covariance and both paths, to 1e-9."""
    start = torch.linspace(-1, 2, 6, dtype=torch.float64)
    own = CMAES(start, sigma=0.4, seed=3)
    theirs = purecma.CMAES(start.tolist(), 0.4, popsize=own.size)
    for _ in range(20):
        theirs.ask()  # which brings its eigenvectors up to date; its own candidates are let go
        f = task.fitness(population := own.ask())
        theirs.tell(population.genomes.tolist(), (-f).tolist())
        own.tell(f)
    found = {
        "mean": (own.mean, theirs.xmean), "p_s": (own.p_s, theirs.ps), "p_c": (own.p_c, theirs.pc),
        "C": (own.C, [list(row) for row in theirs.C]), "sigma": (own.sigma, theirs.sigma),
    }  # fmt: skip
    for name, (mine, wanted) in found.items():
        np.testing.assert_allclose(np.asarray(mine), np.asarray(wanted), rtol=1e-9, atol=1e-12, err_msg=name)
