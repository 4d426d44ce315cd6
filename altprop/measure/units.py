"""What kind of feature a unit of the first layer has become: an oriented grating, a colour, or neither.

A Gabor function at (x, y), with u and v the axes turned by theta around the centre (x0, y0):

    u =  (x - x0) cos theta + (y - y0) sin theta,    v = -(x - x0) sin theta + (y - y0) cos theta
    G = exp(-u^2 / 2 s_u^2 - v^2 / 2 s_v^2) (A cos 2 pi f u + B sin 2 pi f u) + C

A and B hold amplitude and phase.  Source: the fits of Jones and Palmer, J. Neurophysiology 58, 1987.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from altprop.core import Refused

KINDS = ("gabor", "colour", "other")
EXPLAINED = 0.75  # of the variance of the grey part, at least, in a Gabor-like unit
CHROMATIC = 0.5  # of the energy: above it a unit is one of colour
SMALLEST = 5  # pixels a side: a Gabor function has 9 parameters, so that it fits any kernel of 3 x 3
EVALUATIONS = 60  # of the function at most, from each start
STARTS = 2  # peaks of the spectrum that a fit starts from
NARROWEST = 0.5  # pixels, s_u and s_v: below it an envelope holds one pixel


def unit_kinds(weights: Tensor) -> list[str]:
    """weights (K, C, h, w) of K units, C = 3 colour channels or 1 of grey -> "gabor", "colour" or "other" for each.

    From each unit its mean weight is subtracted; the grey part is then the mean over channels, the chromatic part what
    remains in each channel, and energy the sum of squares, grey counted in every channel.
    "colour": more than half of the energy is chromatic.  "gabor": at least half is grey, and the best fit of a 2-D
    Gabor function, of at most half a cycle a pixel, explains at least 75 % of the variance of the grey part; a grey
    blob passes too, as one of less than a cycle.  "other": the rest, and units that weigh every pixel alike.
    Of kernels of 5 x 5 pure noise the fit explains half, of 11 x 11 a seventh.
    Raises ``Refused`` for other shapes, for images below 5 x 5, and for weights that are not finite."""
    if weights.dim() != 4 or weights.shape[1] not in (1, 3) or min(weights.shape[2:]) < SMALLEST:
        what = f"weights of shape {tuple(weights.shape)} came"
        raise Refused(f"{what}; kinds are told from images (K, 3 or 1, h, w) of at least {SMALLEST} x {SMALLEST}")
    if not weights.isfinite().all():
        raise Refused("the weights hold nan or infinity, which have no kind: take them from before the run broke")
    return [_kind(unit) for unit in weights.detach().double().cpu().numpy()]


def shares(kinds: Sequence[str]) -> dict[str, float]:
    """The fraction of units of each kind, 0 where there is none; raises ``Refused`` where there are no units."""
    if not kinds:
        raise Refused("no units came, of which none can have a share: give at least 1")
    return {kind: kinds.count(kind) / len(kinds) for kind in KINDS}


def _kind(unit: np.ndarray) -> str:
    """unit (C, h, w)."""
    centred = unit - unit.mean()
    energy = np.square(centred).sum()
    if energy <= 1e-24 * np.square(unit).sum():  # what subtracting equal numbers leaves is rounding
        return "other"
    grey = centred.mean(0)  # (h, w), its mean 0
    if np.square(centred - grey).sum() > CHROMATIC * energy:
        return "colour"
    grey = grey / np.linalg.norm(grey)
    fits = (_explained(grey, f, theta) for f, theta in _peaks(grey))
    return "gabor" if any(explained >= EXPLAINED for explained in fits) else "other"


def _peaks(image: np.ndarray) -> Iterator[tuple[float, float]]:
    """(f in cycles a pixel, theta) of the strongest gratings, each off the lobes of those before."""
    side = max(image.shape)
    size = max(32, 2 * side)  # padded with zeros, the spectrum is finer
    ky, kx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]  # (size, 1), (1, size / 2 + 1)
    power = np.where(np.hypot(ky, kx) <= 0.5, np.abs(np.fft.rfft2(image, (size, size))), 0.0)
    for _ in range(STARTS):
        row, column = np.unravel_index(power.argmax(), power.shape)
        y, x = ky[row, 0], kx[0, column]
        yield float(np.hypot(x, y)), float(np.arctan2(y, x))
        lobe = np.minimum(np.hypot(ky - y, kx - x), np.hypot(ky + y, kx + x)) < 1 / side
        power = np.where(lobe, 0.0, power)


def _explained(image: np.ndarray, f: float, theta: float) -> float:
    """The fraction of variance of image (h, w), of mean 0 and norm 1, that the best Gabor function near f and theta
    explains.

    x0, y0, f, s_u and s_v run through sigmoids between their bounds, so that the fast unbounded solver serves."""
    from scipy.optimize import least_squares  # here and below: half a second of import, for who fits kernels alone
    from scipy.special import logit

    h, w = image.shape
    y, x = (axis.ravel() - (side - 1) / 2 for axis, side in zip(np.mgrid[:h, :w], (h, w), strict=True))
    low = np.array([-w / 2, -h / 2, 0.0, NARROWEST, NARROWEST])
    span = np.array([w / 2, h / 2, 0.5, max(h, w), max(h, w)]) - low
    target = image.ravel()
    start = np.array([target**2 @ x, target**2 @ y, f, max(h, w) / 4, max(h, w) / 4])
    shape = np.append(logit(np.clip((start - low) / span, 0.02, 0.98)), theta)  # of 6; the other 3 enter linearly

    def residual(p: np.ndarray) -> np.ndarray:
        return _waves(p, x, y, low, span) @ p[6:] - target

    def slopes(p: np.ndarray) -> np.ndarray:
        return _slopes(p, x, y, low, span)

    linear = np.linalg.lstsq(_waves(shape, x, y, low, span), target, rcond=None)[0]  # A, B, C
    fit = least_squares(residual, np.append(shape, linear), slopes, method="lm", max_nfev=EVALUATIONS)
    return float(1 - 2 * fit.cost)


def _waves(p: np.ndarray, x: np.ndarray, y: np.ndarray, low: np.ndarray, span: np.ndarray) -> np.ndarray:
    """(pixels, 3): what A, B and C multiply."""
    from scipy.special import expit

    x0, y0, f, s_u, s_v = low + span * expit(p[:5])
    u = (x - x0) * np.cos(p[5]) + (y - y0) * np.sin(p[5])
    v = (y - y0) * np.cos(p[5]) - (x - x0) * np.sin(p[5])
    envelope = np.exp(-(u**2) / (2 * s_u**2) - v**2 / (2 * s_v**2))
    return np.stack([envelope * np.cos(2 * np.pi * f * u), envelope * np.sin(2 * np.pi * f * u), np.ones_like(u)], 1)


def _slopes(p: np.ndarray, x: np.ndarray, y: np.ndarray, low: np.ndarray, span: np.ndarray) -> np.ndarray:
    """(pixels, 9): dG / dp."""
    from scipy.special import expit

    squashed = expit(p[:5])
    x0, y0, f, s_u, s_v = low + span * squashed
    cos, sin = np.cos(p[5]), np.sin(p[5])
    u, v = (x - x0) * cos + (y - y0) * sin, (y - y0) * cos - (x - x0) * sin
    waves = _waves(p, x, y, low, span)
    G = waves[:, :2] @ p[6:8]
    turned = waves[:, 0] * p[7] - waves[:, 1] * p[6]  # dG / d(2 pi f u)
    du, dv = 2 * np.pi * f * turned - u / s_u**2 * G, -v / s_v**2 * G
    bounded = [sin * dv - cos * du, -sin * du - cos * dv, 2 * np.pi * u * turned, u**2 / s_u**3 * G, v**2 / s_v**3 * G]
    columns = np.stack(bounded, 1) * (span * squashed * (1 - squashed))
    return np.column_stack([columns, v * du - u * dv, waves])
