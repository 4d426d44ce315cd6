"""Residual blocks and the nets made of them: ordinary modules, each one layer to a rule of local credit."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """x + branch(x); with a linear branch a rule sees a layer whose pre-activation keeps its input."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, and a shortcut without parameters: (N, in, H, W) -> (N, out, H', W').

    Where the block changes shape, the shortcut leaves pixels out and fills channels with zeros (He et al. 2016,
    option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int, act: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1, self.act1 = nn.BatchNorm2d(outputs), act()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2, self.act2 = nn.BatchNorm2d(outputs), act()
        self.stride, self.more = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return self.act2(y + shortcut)


def resnet(depth: int, channels: int, outputs: int, act: Callable[[], nn.Module]) -> list[nn.Module]:
    """The modules of the ResNet for small images (He et al. 2016, section 4.2): depth 6 n + 2, widths 16, 32, 64."""
    modules: list[nn.Module] = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), act()]
    width = 16
    for stage in (16, 32, 64):
        for _ in range((depth - 2) // 6):
            modules.append(ResidualBlock(width, stage, 1 if stage == width else 2, act))
            width = stage
    return [*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, outputs)]
