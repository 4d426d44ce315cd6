"""Matrix products, by the fastest exact route.

Torch sends float32 products on the CPU to MKL; oneDNN, which torch ships as well, is up to 2.1 times faster on some
processors at the same float32 accuracy.  ``altprop.backend`` knows on which, and from which size on.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from altprop.backend import HAS_ONEDNN, WORTHWHILE, onednn_is_faster


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., n) W^T (n, m) + b -> (..., m)."""
    large = HAS_ONEDNN and x.numel() * len(weight) >= WORTHWHILE and not torch.is_grad_enabled()  # it has no autograd
    large = large and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" == weight.device.type
    if large and onednn_is_faster(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def outer(signal: Tensor, x: Tensor) -> Tensor:
    """sum over n of signal (n, m) (x) x (n, k) -> (m, k).

    Written out where they are parts of larger tensors, for which oneDNN is hundreds of times slower."""
    return linear(signal.contiguous().T, x.contiguous().T)
