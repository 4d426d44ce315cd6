"""Fixed random matrices that bring a teaching signal to a layer.

Rows are what the signal comes from, the remaining dimensions the place it goes to: (classes, *out_l) for a direct
projection, the shape of the weight for feedback alignment.  They are buffers, so that they move and are saved with the
rule while no optimizer sees them; a generator of their own draws them, so that another rule or another seed of the
feedback leaves the net's initial weights alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import prod

import torch
from torch import Tensor, nn

from altprop.core.steps import arranged
from altprop.limits import Refused, gigabytes, memory

INITIALISERS: dict[str, Callable[..., Tensor]] = {
    "he_uniform": nn.init.kaiming_uniform_, "he_normal": nn.init.kaiming_normal_,
    "glorot_uniform": nn.init.xavier_uniform_, "glorot_normal": nn.init.xavier_normal_,
    "orthogonal": nn.init.orthogonal_, "uniform": partial(nn.init.uniform_, a=-1.0, b=1.0), "normal": nn.init.normal_,
}  # fmt: skip


STREAM = int.from_bytes(b"feed", "big")  # parts seed k from torch.manual_seed(k), which may have drawn the weights


class Feedback(nn.Module):
    """A list of fixed matrices: ``feedback[l]`` brings the signal to layer l.  Assign to replace one."""

    def __init__(self, matrices: Iterable[Tensor] = ()) -> None:
        super().__init__()
        for index, matrix in enumerate(matrices):
            self.register_buffer(str(index), arranged(matrix.detach()))

    def __len__(self) -> int:
        return len(self._buffers)

    def __getitem__(self, index: int) -> Tensor:
        return self.get_buffer(str(range(len(self))[index]))

    def __setitem__(self, index: int, matrix: Tensor) -> None:
        old = self[index]
        if matrix.shape != old.shape:
            raise Refused(f"feedback[{index}] has shape {tuple(old.shape)}, but {tuple(matrix.shape)} came")
        self._buffers[str(range(len(self))[index])] = matrix.detach().to(old)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))


def draw_feedback(shapes: Sequence[Sequence[int]], *, init: str = "he_uniform", scale: float = 1.0, seed: int = 0,
                  like: Tensor) -> Feedback:  # fmt: skip
    """Draw one matrix a shape, in the dtype of ``like``, times ``scale``; the same numbers on every device.

    fan_in is the product of all dimensions but the first, as for a weight.
    Raises ``Refused`` for an unknown ``init``, and for more than memory can hold."""
    if init not in INITIALISERS:
        raise Refused(f"unknown feedback initialiser '{init}'; there are {', '.join(INITIALISERS)}")
    size = like.element_size() * sum(prod(shape) for shape in shapes)
    if size > memory():
        what = f"the feedback matrices take {gigabytes(size)}, more than the {gigabytes(memory())} of memory"
        raise Refused(f"{what}: make the layers smaller, or use 'bp'")
    generator = torch.Generator().manual_seed((seed + STREAM) % 2**63)
    matrices = (INITIALISERS[init](torch.empty(*shape, dtype=like.dtype), generator=generator) for shape in shapes)
    return Feedback(matrix.mul_(scale).to(like.device) for matrix in matrices)


def project(signal: Tensor, feedback: Tensor) -> Tensor:
    """signal (N, C) through feedback (C, *out) -> (N, *out); an image with its channels side by side, as activities."""
    laid = feedback.movedim(1, -1) if feedback.dim() == 4 else feedback
    z = (signal @ laid.flatten(1)).view(len(signal), *laid.shape[1:])
    return z.movedim(-1, 1) if feedback.dim() == 4 else z
