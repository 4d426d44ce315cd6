"""Reads the tensors of a run again, and puts them into a module that they fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from altprop.limits import shorten
from altprop.run.directory.files import RunError, read_bytes, unreadable


def fill(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """``load_state_dict`` that takes only what was saved of such a module: neither another shape or dtype, which would
    be cast in silence, nor NaN; raises ``RunError``."""
    own = module.state_dict()
    strange = sorted(own.keys() ^ tensors.keys())
    for key in own if not strange else ():
        if own[key].shape != tensors[key].shape or own[key].dtype != tensors[key].dtype:
            came, wanted = (f"{list(t.shape)} of {t.dtype}" for t in (tensors[key], own[key]))
            strange.append(f"{key} is {came}, not {wanted}")
        elif tensors[key].is_floating_point() and not bool(tensors[key].isfinite().all()):
            strange.append(f"{key} holds numbers that are not finite")
    if strange:
        what = shorten(strange[0], 120)
        raise RunError(f"{shorten(path, 80)} does not fit its recipe ({what}): the run is damaged, train it again")
    module.load_state_dict(tensors)


def read_tensors(path: Path, checksum: str | None = None) -> dict[str, Tensor]:
    """The tensors in a file; raises ``RunError``, also where they are not those of the checksum."""
    content = read_bytes(path, expected := "tensors as safetensors writes them")
    if checksum is not None and hashlib.sha256(content).hexdigest() != checksum:
        raise unreadable(path, "its checksum does not match state.json", expected)
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise unreadable(path, error, expected) from error
