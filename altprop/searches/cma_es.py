"""Covariance matrix adaptation: candidates are drawn from a normal distribution. Its mean moves to the better ones, its
covariance learns which directions were good, and its size grows while steps agree and shrinks while they do not.

    x_i = m + sigma C^1/2 z_i,  z_i ~ N(0, I)           i = 1 ... lambda, then sorted, the best first
    y_i = (x_i - m) / sigma                             (n,)
    m  += sigma y,              y = sum_{i <= mu} w_i y_i
    p_s = (1 - c_s) p_s + sqrt(c_s (2 - c_s) mueff) C^-1/2 y
    p_c = (1 - c_c) p_c + h sqrt(c_c (2 - c_c) mueff) y         h = 1 if |p_s| is no larger than chance, else 0
    C   = (1 - c_1a - c_mu sum w) C + c_1 p_c p_c^T + c_mu sum_i w_i y_i y_i^T
    sigma *= exp(min(1, c_s / d_s (|p_s|^2 / n - 1) / 2))

References: Hansen, The CMA evolution strategy: a tutorial, arXiv 1604.00772, 2016; Hansen and Ostermeier, Evolutionary
    Computation 9, 2001; Ros and Hansen, A simple modification in CMA-ES achieving linear time and space complexity,
    PPSN 2008 (the separable form).
Deviations from the papers:
    1. Weights, sigma's rule and d_s = 2 mueff / lambda + .3 + c_s are those of the authors' short code, purecma;
       ``damping="tutorial"`` takes d_s = 1 + 2 max(0, sqrt((mueff - 1) / (n + 1)) - 1) + c_s.
    2. C^1/2 is the symmetric root, distributed as the tutorial's B D z: signs of eigenvectors do not matter.
    3. Weights of the worse half are 0; ``active=True`` takes the tutorial's, below 0.
    4. Beyond 1,000 dimensions C is diagonal unless ``diagonal=False``, with c_1 and c_mu times (n + 2) / 3.
    5. It computes in float64 on the CPU, whatever the kind of the start's numbers.
Easily confused with: ``mu_comma_lambda``, whose individuals have steps of their own; ``es``, whose covariance is fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, sqrt

import torch
from torch import Tensor, nn

from altprop.core import Refused
from altprop.limits import gigabytes, memory, nearest, shown
from altprop.searches.covariance import Diagonal, Form, Full
from altprop.searches.draws import normal
from altprop.searches.family import VectorSearch, positive
from altprop.searches.selection import ranked

DAMPINGS: dict[str, Callable[[float, int, int], float]] = {  # d_s - c_s by mueff, lambda and n
    "purecma": lambda mueff, size, n: 2 * mueff / size + 0.3,
    "tutorial": lambda mueff, size, n: 1 + 2 * max(0.0, sqrt((mueff - 1) / (n + 1)) - 1),
}
MOST = 1000  # dimensions of a full covariance, unless it is asked for
BOUNDS = 1e-100, 1e100  # of sigma: a fitness without a top ends in large numbers, not in none


class CMAES(VectorSearch):
    """CMA-ES (Hansen 2016).  sigma: the first step, about a third of where the best is looked for; size: lambda, by
    default 4 + 3 ln n.

    Raises ``Refused``, beside what its family does, for a full covariance larger than memory."""

    reference = "hansen2016"
    remembers = ("mean", "sigma", "C", "root", "inverse", "p_s", "p_c", "rooted_at")

    def __init__(
        self, start: Tensor | nn.Module, *, sigma: float = 0.5, size: int | None = None, active: bool = False,
        damping: str = "purecma", diagonal: bool | None = None, seed: int = 0, example: Tensor | None = None,
    ) -> None:  # fmt: skip
        usual = (lambda n: 4 + int(3 * log(n))) if size is None else size
        super().__init__(start, size=usual, seed=seed, example=example)
        positive(sigma=sigma)
        n = len(self.start)
        if damping not in DAMPINGS:
            raise Refused(f"damping={shown(damping)} came{nearest(str(damping), DAMPINGS)}")
        self.form: Form = Diagonal() if (n > MOST if diagonal is None else diagonal) else Full()
        if isinstance(self.form, Full) and 8 * 8 * n * n > memory():
            what = f"a full covariance of {n} dimensions takes {gigabytes(8 * 8 * n * n)}"
            raise Refused(f"{what}, more than the {gigabytes(memory())} of memory: leave diagonal=False out")
        self._set_constants(n, active, damping)
        self.mean, self.sigma = self.start.to("cpu", torch.float64), torch.tensor(float(sigma), dtype=torch.float64)
        self.C = self.root = self.inverse = self.form.identity(n)
        self.p_s = self.p_c = torch.zeros_like(self.mean)
        self.rooted_at = torch.tensor(0)  # evaluations when C was last taken apart

    def _set_constants(self, n: int, active: bool, damping: str) -> None:
        self.mu = self.size // 2
        w = log(self.size / 2 + 0.5) - torch.arange(1, self.size + 1, dtype=torch.float64).log()
        w, worse = w.clamp(min=0), w.clamp(max=0)
        w[self.mu :] = 0
        w /= w.sum()
        mueff = self.mueff = 1 / float(w.square().sum())
        gain = self.form.gain(n)
        self.c_c, self.c_s = (4 + mueff / n) / (n + 4 + 2 * mueff / n), (mueff + 2) / (n + mueff + 5)
        self.c_1 = min(1.0, gain * 2 / ((n + 1.3) ** 2 + mueff))
        self.c_mu = min(1 - self.c_1, gain * 2 * (mueff - 2 + 1 / mueff) / ((n + 2) ** 2 + mueff))
        self.d_s = DAMPINGS[damping](mueff, self.size, n) + self.c_s
        if active and self.c_mu > 0:  # so much below 0 that C stays positive
            against = float(worse.sum() ** 2 / worse.square().sum())
            bounds = (
                1 + self.c_1 / self.c_mu,
                1 + 2 * against / (mueff + 2),
                (1 - self.c_1 - self.c_mu) / (n * self.c_mu),
            )
            w = w - min(bounds) * worse / worse.sum()
        self.weights = w  # (lambda,)
        self.lag = 0.5 * self.size / (n * (self.c_1 + self.c_mu))  # evaluations for which C's roots may be kept

    def propose(self) -> Tensor:
        if self.evaluations > int(self.rooted_at) + self.lag:
            self.root, self.inverse = self.form.roots(self.C)
            self.rooted_at = torch.tensor(self.evaluations)
        z = normal((self.size, len(self.mean)), self.mean, self.generator)
        return self.mean + self.sigma * self.form.times(self.root, z)  # (lambda, n)

    def learn(self, x: Tensor, heights: Tensor) -> None:
        n, w, form, c_c, c_s = len(self.mean), self.weights, self.form, self.c_c, self.c_s
        y_i = (x[ranked(heights)] - self.mean) / self.sigma  # (lambda, n)
        y = w[: self.mu] @ y_i[: self.mu]  # (n,)
        self.mean = self.mean + self.sigma * y
        self.p_s = (1 - c_s) * self.p_s + sqrt(c_s * (2 - c_s) * self.mueff) * form.times(self.inverse, y)
        length = self.p_s.square().sum() / n  # of which 1 is expected by chance
        h = float(length / (1 - (1 - c_s) ** (2 * self.evaluations / self.size)) < 2 + 4 / (n + 1))
        self.p_c = (1 - c_c) * self.p_c + h * sqrt(c_c * (2 - c_c) * self.mueff) * y
        short = form.times(self.inverse, y_i).square().sum(1) if (w < 0).any() else torch.ones_like(w)
        w = torch.where(w < 0, w * n / short, w)  # a bad step counts as one of the length that chance gives
        keep = 1 - self.c_1 * (1 - (1 - h) * c_c * (2 - c_c)) - self.c_mu * self.weights.sum()
        self.C = keep * self.C + self.c_1 * form.outer(self.p_c[None], w.new_ones(1)) + self.c_mu * form.outer(y_i, w)
        self.sigma = (self.sigma * (c_s / self.d_s * (length - 1) / 2).clamp(max=1).exp()).clamp(*BOUNDS)
