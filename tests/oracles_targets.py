"""Slow NumPy float64 oracles of the rules of targets, written from the equations alone.

Nets, records, helpers and the returned pairs are those of ``oracles``. Layers count from 0; entry l of V and c is that
of the decoder that leads from layer l + 1 down to layer l. Without decoders of the output, V has an entry less.
"""

import oracles
from oracles import act, conv2d_transposed


def back(net, records, level, o, V):
    """o V (N, *h of layer level - 1): through a transposed convolution or a matrix, then to where a pool has taken."""
    layer, record = net[level], records[level]
    if layer["kind"] == "conv":
        signal = conv2d_transposed(o, V, record["x"].shape[1:], **oracles._geometry(layer))
    else:
        signal = oracles._project(o, V)
    return oracles._down_to_h(records[level - 1], signal)


def decode(net, records, level, o, V, c, more=0.0):
    """g(o) = f(o V + c), f of the layer below, without its mask."""
    return act(net[level - 1].get("act", "identity"), back(net, records, level, o, V) + c + more)


def learned(net, x, t, loss, aim, lower, pace=1.0):
    """The pairs of a rule whose displacements t_l - h_l come from ``aim`` and ``lower``."""
    records = oracles.forward(net, x)
    E = oracles.output_error(records[-1]["h"], t, loss)[1]
    deltas, d = [E], None
    for level in range(len(net) - 2, -1, -1):
        above = level + 1
        d = aim(records, E) if above == len(net) - 1 else lower(records, above, d)
        deltas.insert(0, oracles._at_preactivation(net[level], records[level], -d * pace))
    return oracles._weight_gradients(net, records, deltas)


def difference(net, V, c):
    """d of the layer below: g(h + d) - g(h)."""

    def lower(records, level, d):
        h, own = records[level]["h"], (V[level - 1], c[level - 1])
        return decode(net, records, level, h + d, *own) - decode(net, records, level, h, *own)

    return lower


def dtp(net, x, t, loss, V, c, step):
    """t_{L-1} = h_{L-1} - step E W_L, t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)."""
    top = len(net) - 1
    return learned(
        net, x, t, loss, lambda records, E: -step * back(net, records, top, E, net[top]["W"]), difference(net, V, c)
    )


def sdtp(net, x, t, loss, V, c, more=lambda records: 0.0):
    """t_{L-1} = h_{L-1} + g_L(t) - g_L(yhat); more: what else the decoder of the output adds before f."""
    top = len(net) - 1

    def aim(records, E):
        own = (V[top - 1], c[top - 1], more(records))
        return decode(net, records, top, t, *own) - decode(net, records, top, E + t, *own)

    return learned(net, x, t, loss, aim, difference(net, V, c))


def tp(net, x, t, loss, V, c):
    """t_{L-1} = g_L(t), t_{l-1} = g_l(t_l)."""
    top = len(net) - 1

    def lower(records, level, d):
        t_l = records[level]["h"] + d
        return decode(net, records, level, t_l, V[level - 1], c[level - 1]) - records[level - 1]["h"]

    def aim(records, E):
        return decode(net, records, top, t, V[top - 1], c[top - 1]) - records[top - 1]["h"]

    return learned(net, x, t, loss, aim, lower)


def fwdtp(net, x, t, loss, V, step):
    """t_L = z - step E at the logits, t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l); every step over ``step``."""
    top, lower = len(net) - 1, difference(net, V, [0.0] * len(V))
    return learned(net, x, t, loss, lambda records, E: lower(records, top, -step * E), lower, 1 / step)


def ldrl(net, x, t, loss, V, step):
    """The same with g_l(o) = f_l(o) V, f of the layer that the decoder leads from."""
    top = len(net) - 1

    def lower(records, level, d):
        h, name = records[level]["h"], net[level].get("act", "identity")
        return back(net, records, level, act(name, h + d) - act(name, h), V[level - 1])

    return learned(net, x, t, loss, lambda records, E: lower(records, top, -step * E), lower, 1 / step)
