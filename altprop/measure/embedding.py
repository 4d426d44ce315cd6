"""What hidden layers hold: their activity, and a map of it in the plane."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from altprop.core import Refused
from altprop.measure.probe import layers_of, position, undisturbed


@torch.no_grad()
def activity(rule: nn.Module, x: Tensor, layer: int | str) -> Tensor:
    """x (N, *in) -> (N, *out): the activity of a layer, by its index or name, in eval mode.

    rule: a rule, or a net that can be cut into layers.  Raises ``Refused`` where there is no such layer."""
    cuts = layers_of(rule)
    with undisturbed(rule):
        h = x.clone()  # an in-place activation before the first synapse would write into the caller's data
        for cut in cuts[: position(cuts, layer) + 1]:
            h = cut(h)
    return h


def tsne(rule: nn.Module, x: Tensor, layer: int | str = -2, seed: int = 0, perplexity: float = 30.0) -> np.ndarray:
    """(N, 2): the samples in the plane, neighbours by a layer's activity staying neighbours, by scikit-learn's t-SNE.

    It starts from the two principal components; distances between far clusters mean nothing.
    Raises ``Refused`` unless there are more samples than the perplexity and activity of two units that varies.
    Source: van der Maaten and Hinton, JMLR 9, 2008."""
    if not 0 < perplexity < len(x):
        raise Refused(
            f"{len(x)} samples came for a perplexity of {perplexity:g}: give more samples than that, or a lower one"
        )
    h = activity(rule, x, layer).flatten(1).double().cpu().numpy()  # (N, units)
    if not np.isfinite(h).all():
        raise Refused(f"the activity of layer {layer!r} holds nan or infinity: take a net from before it diverged")
    if h.shape[1] < 2 or not np.ptp(h, axis=0).any():
        what = "has one unit" if h.shape[1] < 2 else "is the same for every sample"
        raise Refused(f"the activity of layer {layer!r} {what}, so that there is nothing to map: choose another layer")
    from sklearn.manifold import TSNE  # a second of import, which who draws no maps need not wait for

    return np.asarray(TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(h))
