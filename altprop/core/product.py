"""Matrix products, by the fastest exact route.

Torch sends float32 products on the CPU to MKL, which leaves AVX-512 unused on AMD; oneDNN, which torch ships as well,
is 2.1 times faster there at the same float32 accuracy.  Below ``WORTHWHILE`` its call costs more than it saves.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WORTHWHILE = 1 << 21  # multiplications
HAS_ONEDNN: bool = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., n) W^T (n, m) + b -> (..., m)."""
    large = HAS_ONEDNN and x.numel() * len(weight) >= WORTHWHILE and not torch.is_grad_enabled()  # it has no autograd
    if large and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" == weight.device.type:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def outer(signal: Tensor, x: Tensor) -> Tensor:
    """sum over n of signal (n, m) (x) x (n, k) -> (m, k).

    Written out where they are parts of larger tensors, for which oneDNN is hundreds of times slower."""
    return linear(signal.contiguous().T, x.contiguous().T)
