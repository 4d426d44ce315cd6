"""Slow NumPy float64 oracles of the rules that learn from a feedback path, written from the equations alone.

Nets, records, helpers and the returned pairs are those of ``oracles``. Layers count from 0. A list "for the layers
above the first" has entry l for layer l + 1, as the B of ``oracles.fa``.
"""

import math

import numpy as np
import oracles


def _sign(values):
    """-1, 0 or 1; sign(0) = 0."""
    out = np.zeros(values.shape)
    for index in np.ndindex(*values.shape):
        out[index] = float(values[index] > 0) - float(values[index] < 0)
    return out


# ---------------------------------------------------------------------------------------------- sign symmetry


def fans(W):
    """(fan_in, fan_out) of a weight: its inputs and outputs, each times the receptive field of a convolution."""
    receptive_field = math.prod(W.shape[2:])
    return W.shape[1] * receptive_field, W.shape[0] * receptive_field


def usf(net, x, t, loss, scale):
    """Uniform sign feedback: FA with B_l = scale s_l sign(W_l), s_l = sqrt(2 / (fan_in + fan_out))."""
    B = []
    for layer in net[1:]:
        s = math.sqrt(2 / sum(fans(layer["W"])))
        B.append(scale * s * _sign(layer["W"]))
    return oracles.fa(net, x, t, loss, B)


def frsf(net, x, t, loss, magnitudes):
    """Random-magnitude sign feedback: FA with B_l = M_l sign(W_l), M for the layers above the first.

    M is fixed for good in frSF; brSF is this function with the magnitudes of the batch.
    """
    pairs = zip(magnitudes, net[1:], strict=True)
    return oracles.fa(net, x, t, loss, [M * _sign(layer["W"]) for M, layer in pairs])


# ------------------------------------------------------------------------------------------- learned feedback


def kp(net, x, t, loss, feedback):
    """Kolen-Pollack: (gradients, feedback gradients); the first are FA's with B = feedback.

    The gradient of B_l is G_l, that of the W of the same layer; the list is for the layers above the first.
    """
    gradients = oracles.fa(net, x, t, loss, feedback)
    return gradients, [g_w.copy() for g_w, _ in gradients[1:]]


def wm(net, x, t, loss, feedback, noise, variance):
    """Weight mirror: (gradients, feedback gradients); the first are FA's with B = feedback.

    For each layer above the first, with noise xi of the shape of its synapse's input (after pool and flatten):

        y = f(W * xi + b), without mask and pool,    gradient of B = -sum y xi^T / (M variance)

    summed over samples and positions; M = N, or N H_out W_out of a convolution, and `variance` is that of xi.
    """
    feedback_gradients = []
    for layer, xi in zip(net[1:], noise, strict=True):
        y = oracles.act(layer.get("act", "identity"), oracles._synapse(layer, xi))
        M = y.shape[0] * math.prod(y.shape[2:])
        total, _ = oracles._correlation(layer, y, xi)
        feedback_gradients.append(-total / (M * variance))
    return oracles.fa(net, x, t, loss, feedback), feedback_gradients


# ---------------------------------------------------------------------------------------- direct projections


def ssdfa(net, x, t, loss, feedback):
    """Single sparse DFA: delta_L = E;  delta_l = (E D_l) m_l f'(a_l), D = feedback at h_l, as ``check_single`` asks."""
    return oracles.dfa(net, x, t, loss, feedback)


def check_single(D, sparse=1):
    """Raise AssertionError unless every unit of D (C, *out) listens to exactly `sparse` classes, within the bound.

    Every non-zero entry lies in [-h, h], h = sqrt(sqrt(C sparse) / n), n the number of units.
    """
    columns = D.reshape(D.shape[0], -1)
    classes, n = columns.shape
    h = math.sqrt(math.sqrt(classes * sparse) / n)
    for unit in range(n):
        wires = [value for value in columns[:, unit] if value != 0]
        if len(wires) != sparse:
            raise AssertionError(f"unit {unit} listens to {len(wires)} classes, expected {sparse}")
        if max(abs(value) for value in wires) > h:
            raise AssertionError(f"unit {unit} has an entry beyond {h}: {wires}")


def afa(net, x, t, loss, F, sign=+1):
    """Adaptive feedback alignment, the first order of PEPITA with the standard presynaptic activity.

    delta_0 = -sign E F at the input, F (C, *in);  delta_L = E;  presynaptic activity: that of the standard pass.
    delta_l = (W_l * inlet(delta_{l-1})) m_l f'(a_l), without b; inlet gathers at the winners of that pass, flattens.
    """
    records = oracles.forward(net, x)
    error = oracles.output_error(records[-1]["h"], t, loss)[1]
    signal, argmax, deltas = -sign * oracles._project(error, F), None, []
    for layer, record in zip(net[:-1], records[:-1], strict=True):
        carried = signal if argmax is None else oracles._gather(signal, argmax)
        pushed = oracles._synapse(layer, oracles._flat_if_linear(layer, carried), bias=False)
        signal, argmax = oracles._at_preactivation(layer, record, pushed), record["argmax"]
        deltas.append(signal)
    return oracles._weight_gradients(net, records, [*deltas, error])
