"""A trained net together with everything that was done to its inputs and targets: raw samples in, answers out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from altprop.core import Rule
from altprop.data import DataError, Raw, TableEncoding, as_float, encode, read_samples
from altprop.data.frames import is_frame
from altprop.measure.probabilities import PROBABILITIES
from altprop.run.inputs import first_embedding, suited
from altprop.run.recipe import RunError

BATCH = 1024  # samples that are asked about at once
PIXELS = 2.0  # floats beyond that are no pixels in [0, 1]


class Inputs(nn.Module):
    """Raw samples (N, *raw.shape) -> what the net was trained on: pixels in [0, 1], scaled, whitened."""

    offset: Tensor
    spread: Tensor
    mean: Tensor
    matrix: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        tokens: bool,
        scaling: Sequence[Any] | None,
        whitening: tuple[Tensor, Tensor] | None,
    ) -> None:
        super().__init__()
        self.shape, self.tokens, self.scales = shape, tokens, scaling is not None
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

    feature_names: of the columns of x, empty where they have none.  classes: names, empty for a regression and for
    multi-hot labels.
    inputs: ``Inputs``.  core: what infers, as ``inference`` gives it of a rule, or the champion of a search."""

    def __init__(
        self,
        core: nn.Module,
        description: Mapping[str, Any],
        loss: str,
        whitening: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        shape = tuple(description["shape"])
        raw = description.get("raw") or {"shape": shape, "dtype": "float32", "low": 0.0, "high": 1.0}
        self.raw = Raw(**{**raw, "shape": tuple(raw["shape"])})
        self.feature_names = tuple(description.get("features") or ())
        self.classes = tuple(description["classes"])
        self.loss = loss
        self.table = table_of(description)
        tokens = first_embedding(core) is not None
        self.inputs = Inputs(shape, tokens, description["scaling"], whitening)
        self.core = core
        scaling = description.get("target_scaling") or ()
        self.rescales = bool(scaling)
        for name, part in zip(("target_offset", "target_spread"), scaling, strict=False):
            self.register_buffer(name, torch.tensor(part))
        self.to(next(core.parameters()).device)

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
        """The class of each sample by its name, an array (N,) of text; of multi-hot labels which are there, (N, K) of
        0 and 1; for a regression its values, a tensor (N, K), or (N,) of one target.

        Takes and raises what ``outputs`` does."""
        z = self.outputs(x)
        if self.classes:
            return np.array(self.classes)[z.argmax(1).numpy()]
        if self.has_labels:
            return (z > 0).long()
        return z[:, 0] if z.shape[1] == 1 else z

    def predict_proba(self, x: Any) -> Tensor:
        """(N, classes): probabilities by softmax; after a loss of sigmoids or squares, shares of the row's sum; of
        multi-hot labels each one's own.

        Raises ``RunError`` for a regression, and what ``outputs`` does."""
        if not self.has_labels:
            raise RunError("predict_proba came for a regression, which has no classes: use predict")
        z = self.outputs(x)
        return PROBABILITIES[self.loss](z) if self.classes else z.sigmoid()

    @property
    def has_labels(self) -> bool:
        """Whether the outputs are of classes or of multi-hot labels, and so have probabilities."""
        return bool(self.classes) or self.loss == "binary_cross_entropy"

    def samples(self, x: Any) -> Tensor:
        """x as a tensor (N, *raw.shape) of the kind that ``forward`` takes."""
        if self.table is not None and (self.table.categories or self.table.means) and is_frame(x):
            return encode(self.table, x)
        return self._as_trained(read_samples(x, "x", self.raw.shape, self.feature_names))

    def _as_trained(self, x: Tensor) -> Tensor:
        """Numbers of the type that training saw; pixels stay bytes only where it saw pixels."""
        if self.inputs.tokens:
            return suited(x, self.core, "x")
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


def inference(rule: Rule) -> nn.Module:
    """What infers: the net, or the rule where that has an inference of its own."""
    return rule if type(rule).forward is not Rule.forward else rule.net


def table_of(description: Mapping[str, Any]) -> TableEncoding | None:
    """How the columns of training's table became features; None where it was no table in text."""
    state = description.get("table")
    return None if state is None else TableEncoding.from_state(state)


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
