"""How well a regression does: shares of the variance, and errors in the targets' own units."""

from __future__ import annotations

from torch import Tensor

from altprop.core import Refused


def regression_scores(y_hat: Tensor, y: Tensor) -> dict[str, float | None]:
    """r2 = 1 - sum e^2 / sum (y - mean y)^2, mae = mean |e| and rmse = sqrt(mean e^2) of e = y_hat - y (N, K).

    Each is taken of every target by itself, and then the mean over targets; mae and rmse are in the units of y.  r2 is
    None where a target is constant.  Raises ``Refused`` for shapes that differ, which would broadcast."""
    if y_hat.shape != y.shape or y.dim() != 2 or not len(y):
        raise Refused(f"predictions {tuple(y_hat.shape)} came for targets {tuple(y.shape)}: both must be (N, K)")
    y = y.double()
    e, around = y_hat.double() - y, y - y.mean(0)
    power, variance = e.square().mean(0), around.square().mean(0)  # (K,)
    r2 = float((1 - power / variance).mean()) if bool((y.amax(0) > y.amin(0)).all()) else None
    return {"r2": r2, "mae": float(e.abs().mean(0).mean()), "rmse": float(power.sqrt().mean())}
