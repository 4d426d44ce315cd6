"""Local losses of Nokland and Eidnes: every hidden layer predicts the classes by a decoder of its own, and makes its
samples as similar to each other as their labels are.

    z_l = pool(h_l) A_l^T + c_l                        A_l (C, features), starts at zero                 (N, C)
    L_pred = loss(z_l, t)
    s_l = h_l K_l^T                                    K_l (n_l, n_l), of maps a 3 x 3 convolution       (N, *out_l)
    S(s)_ij = cos(v_i - mean v_i, v_j - mean v_j)      v = s, of maps its deviation over positions       (N, N)
    L_sim = 1/N^2 sum_ij (S(s_l)_ij - S(t)_ij)^2
    L_l = L_pred, L_sim, or (1 - beta) L_pred + beta L_sim            aim = "pred", "sim", "predsim"
    delta_l = dL_l / dh_l * f'(a_l),  delta_L = e / N,  W_l.grad += delta_l^T h_{l-1};  A, c, K descend L_l too

backprop_free=True sends nothing down through a weight that it came up by:

    p_l = t P_l,  P_l (C, D) fixed                     the label as layer l hears it                     (N, D)
    L_pred = 1/(N D) sum BCE(sigmoid(z_l), [p_l > 0])  z (N, D), A (D, features);  dL_pred / dh = (e / (N D)) B_l
    L_sim  with S(h_l) and S(p_l)                      no K;  B_l fixed, of A's shape

Reference: Nokland and Eidnes, International Conference on Machine Learning, 2019.
Deviations from the paper:
    1. The heads see activity after dropout, which is part of the layer; in published code before it.
    2. Maps are averaged over patches of side 1, 2, 4, ...; published code halves one side after the other.
    3. Weights of samples multiply L_pred's terms, and L_sim's by w_i w_j.
    4. One feature or target alone is not centred.
Easily confused with: Mono-Forward, which only predicts.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from typing import Any

from torch import Tensor, nn

from altprop.core import Claims, Feedback, Refused, Suits, bare, draw_feedback, forward, weighed
from altprop.rules.local.family import Local
from altprop.rules.local.heads import check_axes, decoder, down, transform
from altprop.rules.local.similarity import rows

AIMS = ("pred", "sim", "predsim")
TORCH = 6**-0.5  # he_uniform times it is how torch draws a Linear


class LocalLoss(Local):
    """Local losses (Nokland and Eidnes 2019).

    aim, beta, backprop_free: see above.  features: how many numbers of a map a decoder sees at most.  projection: D.
    decoders: A and c of each hidden layer; transforms: K.  P, B: fixed, of backprop_free.  seed: of K, P and B.
    Raises ``Refused`` for an unknown aim, a beta outside [0, 1], activity of more than three axes of positions."""

    claims = Claims(
        weight_transport="none", locking="none", signal="target", averages=False, learns=("decoders", "transforms")
    )
    reference = "nokland2019"
    suits = Suits(optimizer="adam", lr=0.01, lr_regression=0.01)

    def __init__(
        self, net: Any, *, aim: str = "predsim", beta: float = 0.99, backprop_free: bool = False, features: int = 4096,
        projection: int = 128, seed: int = 0, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        if aim not in AIMS or not 0 <= beta <= 1 or min(features, projection) < 1:
            what = f"aim={aim!r}, beta={beta}, features={features}, projection={projection} came"
            raise Refused(f"{what}; LocalLoss takes {', '.join(AIMS)}, 0 to 1, and whole numbers from 1 up")
        self.of_pred, self.of_sim = {"pred": (1.0, 0.0), "sim": (0.0, 1.0), "predsim": (1 - beta, beta)}[aim]
        self.matches, self.free, shapes = aim != "pred", backprop_free, [shapes.h for shapes in self.shapes[:-1]]
        check_axes(shapes)
        outputs = projection if self.free else self.classes
        self.predict = [decoder(shape, outputs, features, self.like) for shape in shapes if aim != "sim"]
        self.compare = [transform(shape) for shape in shapes if self.matches and not self.free]
        self._draw(seed, projection if self.free else 0)
        self.decoders = nn.ParameterList(p for head in self.predict for p in head.parameters())
        self.transforms = nn.ParameterList(p for head in self.compare for p in head.parameters())
        for index, heads in enumerate(zip_longest(self.predict, self.compare)):
            own = nn.ParameterList(p for head in heads if head is not None for p in head.parameters())
            self.layers[index] = replace(self.layers[index], beside=own)
        learns = ("decoders",) * (aim != "sim") + ("transforms",) * (self.matches and not self.free)
        self.claims = replace(self.claims, averages=not self.matches, learns=learns)

    def _draw(self, seed: int, D: int) -> None:
        """K of every layer, and P and B where D, the numbers of a label that layers hear, is not 0."""
        of_K = [head.synapse.get_parameter("weight").shape for head in self.compare]
        of_P = [(self.classes, D) for _ in self.shapes[:-1] if D]
        of_B = [head.synapse.get_parameter("weight").shape for head in self.predict if D]
        drawn = list(draw_feedback([*of_K, *of_P, *of_B], scale=TORCH, seed=seed, like=self.like))
        for head in self.compare:
            head.synapse.register_parameter("weight", nn.Parameter(drawn.pop(0)))
        self.P, self.B = Feedback(drawn[: len(of_P)]), Feedback(drawn[len(of_P) :])

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        return [*super().param_groups(lr), {"params": [*self.decoders, *self.transforms], "lr": lr}]

    def judge(self, index: int, h: Tensor, t: Any) -> Tensor:
        terms = [self._predicted(index, h, t)] if self.predict else []
        return sum([*terms, self._compared(index, h, t)] if self.matches else terms)  # type: ignore[return-value]

    def _predicted(self, index: int, h: Tensor, t: Any) -> Tensor:
        """dL_pred / dh (N, *out), times its share."""
        trace = forward(self.predict[index], h, reach=True)
        if self.free:
            binary = (self._label(index, t) > 0).to(h)  # (N, D)
            e = weighed(t, trace.h.sigmoid().sub_(binary)) / binary.shape[1]
        else:
            e = self.output_error(trace.h, t)[1]  # (N, C)
        return down(trace, e * (self.of_pred / len(h)), self.B[index] if self.free else None)

    def _compared(self, index: int, h: Tensor, t: Any) -> Tensor:
        """dL_sim / dh (N, *out), times its share."""
        trace = forward(self.compare[index], h, reach=True) if self.compare else None
        own = rows(h if trace is None else trace.h)
        E = own.S.sub_(rows(self._label(index, t)).S)  # (N, N)
        E = weighed(t, weighed(t, E).T)
        signal = own.back(E * (4 * self.of_sim / len(h) ** 2)).view_as(h)  # at s
        return signal if trace is None else down(trace, signal)

    def _label(self, index: int, t: Any) -> Tensor:
        """t (N, C), or p (N, D)."""
        return bare(t) @ self.P[index] if self.free else bare(t)
