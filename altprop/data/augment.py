"""Random changes of a batch, mostly of images, that leave its labels right."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

PADDING = 4  # pixels on each side from which a crop may start
NOISE = 0.1


def flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image (N, C, H, W) mirrored left to right with probability 1/2."""
    mirrored = (torch.rand(len(x), generator=generator) < 0.5).to(x.device)
    return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)


def crop(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image shifted by up to 4 pixels either way, zeros coming in."""
    n, _, height, width = x.shape
    down, right = torch.randint(2 * PADDING + 1, (2, n), generator=generator).to(x.device)
    rows = down.view(n, 1) + torch.arange(height, device=x.device)  # (N, H)
    columns = right.view(n, 1) + torch.arange(width, device=x.device)  # (N, W)
    padded = F.pad(x, (PADDING,) * 4).movedim(1, 3)  # (N, H + 8, W + 8, C)
    samples = torch.arange(n, device=x.device).view(n, 1, 1)
    return padded[samples, rows.unsqueeze(2), columns.unsqueeze(1)].movedim(3, 1)


def noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Samples (N, *in) of any shape, with Gaussian noise of deviation 0.1 added to every entry."""
    return x + NOISE * torch.randn(x.shape, generator=generator).to(x)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "flip": flip,
    "crop": crop,
    "flip+crop": lambda x, generator: crop(flip(x, generator), generator),
    "noise": noise,
}
OF_ANY_SHAPE = ("noise",)  # the others take images
