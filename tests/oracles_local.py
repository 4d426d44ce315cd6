"""Slow NumPy float64 oracles of the rules with local losses, written from the equations alone.

Nets, records, helpers and the returned pairs are those of ``oracles``.  Layers count from 0.
"""

import numpy as np
import oracles


def mono(net, x, t, loss, heads):
    """Mono-Forward: (gradients, gradients of the heads).  heads[l], (C, n_l), projects all entries of h_l to g_l, and
    delta_l = (y_hat(g_l) - t) M_l f'(a_l); delta_L = E, each sample by itself."""
    records = oracles.forward(net, x)
    deltas, of_heads = [], []
    for layer, record, M in zip(net, records, [*heads, None], strict=True):
        h, count = record["h"], len(x)
        if M is None:
            deltas.append(oracles.output_error(h, t, loss)[1])
            break
        signal, gradient = np.zeros(h.shape), np.zeros(M.shape)
        for n in range(count):
            flat = h[n].reshape(-1)
            g = np.array([[sum(M[c, j] * flat[j] for j in range(len(flat))) for c in range(len(M))]])
            e = oracles.output_error(g, t[n : n + 1], loss)[1][0]
            signal[n] = sum(e[c] * M[c] for c in range(len(M))).reshape(h[n].shape)
            gradient += np.outer(e, flat) / count
        deltas.append(oracles._at_preactivation(layer, record, signal))
        of_heads.append(gradient)
    return oracles._weight_gradients(net, records, deltas), of_heads
