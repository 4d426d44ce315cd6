"""What each training sample counts: by itself, and by its class.

    w_n = (sample weight)_n * (class weight of y_n), divided by the mean over the training samples

so that the loss of N samples is 1/N sum_n w_n l_n, and a learning rate means the same with weights as without.  Over
the whole training part that is torch's weighted mean, sum w l / sum w.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import DataError, suggest
from .frames import as_tensor

ClassWeights = str | Sequence[float] | Mapping[str, float]


def as_weights(value: Any, count: int, where: str, what: str = "training samples") -> Tensor:
    """(count,) float32 weights; raises `DataError` unless they are that many, finite, none negative and not all 0."""
    weights = as_tensor(value, where).float()
    weights = weights[:, 0] if weights.dim() == 2 and weights.shape[1] == 1 else weights
    if weights.shape != (count,):
        came = f"shape {tuple(weights.shape)} for {count} {what}"
        raise DataError(f"{where} has {came}; expected ({count},), one weight each; give all of them")
    wrong = (~(weights.isfinite() & (weights >= 0))).nonzero().flatten()
    if len(wrong):
        came = f"{weights[wrong[0]].item():g} in row {int(wrong[0])} (counted from 0)"
        raise DataError(f"{where} holds {came}; expected finite weights of at least 0; correct it")
    if not weights.any():
        raise DataError(f"{where} holds nothing but 0; expected a weight above 0; leave it out to count all alike")
    return weights


def spell_weights(given: Any) -> Any:
    """Weights of classes as a recipe holds them, a word, a list or a dict whose names are text; "1,5" and "a=1,b=5" are
    such a list and dict.  None where it is empty.  Raises `DataError` for another word."""
    if isinstance(given, Mapping):
        return {
            str(int(key) if isinstance(key, float) and key.is_integer() else key): w for key, w in given.items()
        } or None
    if not isinstance(given, str) or given == "balanced":
        held = given.tolist() if isinstance(given, Tensor | np.ndarray) else given
        return list(held) if isinstance(held, tuple) else held
    pairs = [part.partition("=") for part in given.split(",")]
    try:
        named = {name.strip(): float(weight) for name, equals, weight in pairs if equals}
        numbers = [float(name) for name, equals, _ in pairs if not equals]
    except ValueError:
        named, numbers = {}, []
    if bool(named) == bool(numbers):
        came = f"class_weight {given[:60]!r} came"
        raise DataError(f"{came}; expected 'balanced', one number a class such as 1,5, or names such as cat=1,dog=5")
    return named or numbers


def class_weights(given: ClassWeights, classes: Sequence[str], y: Tensor) -> Tensor:
    """(C,) float32: `given` as "balanced", N / (C N_c); a number a class in order; or by name, where others count 1.

    Raises `DataError` for another word, a name that is no class, another number of weights, and no classes at all."""
    if not classes:
        raise DataError(
            "class_weight came for targets that are no classes; expected labels; give sample_weight instead"
        )
    if given == "balanced":
        counts = torch.bincount(y.cpu(), minlength=len(classes))
        return len(y) / (len(classes) * counts.clamp(min=1)).float()
    if isinstance(given, Mapping):
        for name in given:
            if name not in classes:
                raise DataError(f"class_weight names {name!r}, which is no class; {suggest(name, classes)}")
        given = [given.get(name, 1.0) for name in classes]
    return as_weights(list(given), len(classes), "class_weight", "classes")


def combined(samples: Tensor | None, given: ClassWeights | None, classes: Sequence[str], y: Tensor) -> Tensor | None:
    """w (N,) of mean 1, or None where everything counts alike."""
    if samples is None and given is None:
        return None
    w = torch.ones(len(y), device=y.device) if samples is None else samples
    w = w if given is None else w * class_weights(given, classes, y).to(y.device)[y]
    if not w.any():
        raise DataError(
            "sample_weight and class_weight leave every training sample at 0; expected some above; raise one"
        )
    return w / w.double().mean().float()
