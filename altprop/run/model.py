"""A trained net together with everything that was done to its inputs and targets: raw samples in, answers out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from altprop.core import Rule
from altprop.data import DataError, Raw, as_float, check_shape, find_columns
from altprop.data.convert import as_tensor
from altprop.data.dataset import check_finite
from altprop.run.recipe import RunError

BATCH = 1024  # samples that are asked about at once
PIXELS = 2.0  # floats beyond that are no pixels in [0, 1]


def shares(y_hat: Tensor) -> Tensor:
    """Rows that sum to one and are largest where y_hat is."""
    positive = y_hat - y_hat.amin(1, keepdim=True).clamp(max=0) + 1e-12
    return positive / positive.sum(1, keepdim=True)


PROBABILITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "cross_entropy": lambda z: z.softmax(1),
    "binary_cross_entropy": lambda z: shares(z.sigmoid()),
    "mse": shares,
}


class Inputs(nn.Module):
    """Raw samples (N, *raw.shape) -> what the net was trained on: pixels in [0, 1], scaled, whitened."""

    offset: Tensor
    spread: Tensor
    mean: Tensor
    matrix: Tensor

    def __init__(
        self, raw: Raw, shape: tuple[int, ...], scaling: Sequence[Any] | None, whitening: tuple[Tensor, Tensor] | None
    ) -> None:
        super().__init__()
        self.shape, self.tokens, self.scales = shape, raw.dtype == "int64", scaling is not None
        self.whitens = whitening is not None
        for name, part in zip(("offset", "spread"), scaling or (), strict=False):
            self.register_buffer(name, torch.tensor(part).unsqueeze(0))
        for name, matrix in zip(("mean", "matrix"), whitening or (), strict=False):
            self.register_buffer(name, matrix)

    def forward(self, x: Tensor) -> Tensor:
        if self.tokens:
            return x
        x = x.float() * (1 / 255) if x.dtype == torch.uint8 else x.float()
        if self.scales:
            x = (x - self.offset) / self.spread
        if self.whitens:
            white = (x.flatten(1).to(self.mean.dtype) - self.mean) @ self.matrix
            x = white.to(x.dtype).unflatten(1, self.shape)
        return x


class Model(nn.Module):
    """From raw samples to outputs: logits of classes, or the values of a regression in their own units.

    feature_names: of the columns of x, empty where they have none.  classes: names, empty for a regression.
    inputs: ``Inputs``.  core: what infers, the net, or the rule where that has an inference of its own."""

    def __init__(
        self, rule: Rule, description: Mapping[str, Any], loss: str, whitening: tuple[Tensor, Tensor] | None = None
    ) -> None:
        super().__init__()
        shape = tuple(description["shape"])
        raw = description.get("raw") or {"shape": shape, "dtype": "float32", "low": 0.0, "high": 1.0}
        self.raw = Raw(**{**raw, "shape": tuple(raw["shape"])})
        self.feature_names = tuple(description.get("features") or ())
        self.classes = tuple(description["classes"])
        self.loss = loss
        self.inputs = Inputs(self.raw, shape, description["scaling"], whitening)
        self.core = rule if type(rule).forward is not Rule.forward else rule.net
        scaling = description.get("target_scaling") or ()
        self.rescales = bool(scaling)
        for name, part in zip(("target_offset", "target_spread"), scaling, strict=False):
            self.register_buffer(name, torch.tensor(part))
        self.to(rule.like.device)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, *raw.shape), uint8 pixels or numbers as they were in training -> (N, outputs)."""
        h = self.inputs(x)
        z = self.core(h.to(next(self.core.parameters()).dtype) if h.is_floating_point() else h)
        return z * self.target_spread + self.target_offset if self.rescales else z

    def outputs(self, x: Any) -> Tensor:
        """What ``forward`` says of samples of any number and kind, in eval mode, (N, outputs) on the CPU.

        x: a tensor, an array, nested lists, or a frame of columns, which are found by name where training had names.
        Raises ``DataError`` for another shape, other columns and values that are not finite."""
        samples = self.samples(x)
        device = next(self.core.parameters()).device
        with _at_rest(self), torch.no_grad():
            return torch.cat([self(part.to(device)).cpu() for part in samples.split(BATCH)])

    def predict(self, x: Any) -> Any:
        """The class of each sample by its name, an array (N,) of text; for a regression its values, a tensor (N, K),
        or (N,) of one target.  Takes and raises what ``outputs`` does."""
        z = self.outputs(x)
        if self.classes:
            return np.array(self.classes)[z.argmax(1).numpy()]
        return z[:, 0] if z.shape[1] == 1 else z

    def predict_proba(self, x: Any) -> Tensor:
        """(N, classes): probabilities by softmax; after a loss of sigmoids or squares, shares of the row's sum.

        Raises ``RunError`` for a regression, and what ``outputs`` does."""
        if not self.classes:
            raise RunError("predict_proba came for a regression, which has no classes: use predict")
        return PROBABILITIES[self.loss](self.outputs(x))

    def samples(self, x: Any) -> Tensor:
        """x as a tensor (N, *raw.shape) of the kind that ``forward`` takes."""
        if hasattr(x, "columns") and hasattr(x, "to_numpy"):
            x = self._columns(x)
        x = as_tensor(x, "x")
        check_shape("x", x.shape, self.raw.shape)
        if not len(x):
            raise DataError(f"x has no samples; expected at least one of shape {self.raw.shape}; give some")
        check_finite("x", x)
        return self._as_trained(x)

    def _columns(self, frame: Any) -> Tensor:
        """The columns of a frame (N, features), whose numbers are no pixels."""
        keys = list(frame.columns)
        chosen = [keys[index] for index in find_columns("x", [str(key) for key in keys], self.feature_names)]
        columns = [as_tensor(frame[key].to_numpy(), f"x: column {str(key)!r}") for key in chosen]
        return torch.stack([c if self.raw.dtype == "int64" else c.float() for c in columns], 1)

    def _as_trained(self, x: Tensor) -> Tensor:
        """Numbers of the type that training saw; pixels stay bytes only where it saw pixels."""
        if self.raw.dtype == "int64":
            if x.is_floating_point():
                raise DataError("x is of floats; expected whole numbers, as in training; give x.astype(int)")
            return x.long()
        if self.raw.dtype == "uint8" and x.dtype != torch.uint8:
            low, high = (float(value) for value in x.aminmax())
            if x.dtype == torch.int64 and low >= 0 and high <= 255:
                return x.to(torch.uint8)
            if x.dtype == torch.int64 or high > PIXELS:
                came = f"x is {x.dtype} up to {high:g}"
                raise DataError(f"{came}; expected pixels of 8 bits, as in training; give uint8, or x / 255 as floats")
        elif x.dtype == torch.uint8 and self.raw.dtype != "uint8":  # numbers, unless training saw fractions of 255
            image, fractions = len(self.raw.shape) == 3, self.raw.high <= PIXELS
            return x if fractions and (image or float(x.max()) > PIXELS) else x.float()
        return x if x.dtype == torch.uint8 else as_float(x)


@contextmanager
def _at_rest(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, and afterwards its modes as they were."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
