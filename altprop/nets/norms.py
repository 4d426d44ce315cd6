"""A batch norm for competitive layers: every feature is centred, and all are divided by one deviation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Centre(_BatchNorm):
    """(x - mean of the feature) / deviation of all; features are dimension 1, statistics those of a batch norm.

    A batch norm divides each feature by its own deviation, so that pixels at the border of an image, which hardly
    vary, weigh as much as those in the middle: units that compete by u = x W^T then learn the border's noise.
    ``running_var`` () is the mean of the features' variances.  Raises ``ValueError`` in training for one value a
    feature."""

    running_mean: Tensor  # (features,)
    running_var: Tensor  # ()

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(features, eps=eps, momentum=momentum, affine=False)
        self.running_var = torch.ones(())

    def reset_running_stats(self) -> None:
        super().reset_running_stats()
        self.running_var = torch.ones_like(self.running_mean[0])

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        mean, variance = self.running_mean, self.running_var
        if self.training:
            axes, values = [0, *range(2, x.dim())], x.numel() // x.shape[1]
            if values < 2:
                raise ValueError(f"one value a feature came to {type(self).__name__}, which has no deviation: give 2")
            variance, mean = torch.var_mean(x, axes, correction=0)
            variance = variance.mean()
            with torch.no_grad():  # the running variance unbiased, as a batch norm's
                self.running_mean.lerp_(mean, self.momentum or 0.0)
                self.running_var.lerp_(variance * (values / (values - 1)), self.momentum or 0.0)
        return (x - mean.view(-1, *(1 for _ in x.shape[2:]))) / (variance + self.eps).sqrt()


class Centre1d(_Centre, nn.BatchNorm1d):
    """Of (N, features), or of sequences (N, channels, length)."""


class Centre2d(_Centre, nn.BatchNorm2d):
    """Of (N, channels, height, width), each channel a feature."""


class Centre3d(_Centre, nn.BatchNorm3d):
    """Of (N, channels, depth, height, width)."""
