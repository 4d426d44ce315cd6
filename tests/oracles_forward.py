"""Slow NumPy float64 oracles of PEPITA's relatives and of Forward-Forward, written from the equations alone.

Nets, helpers and the returned pairs are those of ``oracles``. Layers count from 0. An activity h_l is what layer l
gives out, before the pool and the flattening of the next layer's inlet; p_l is the inlet of layer l.
"""

import math

import numpy as np
import oracles

# ------------------------------------------------------------------------------------------ passes through the net


def _length(values):
    return math.sqrt(sum(float(v) ** 2 for v in values.ravel()))


def _divided_by_length(h):
    length = _length(h)
    return np.zeros(h.shape) if length == 0 else h / length


NORMALISATIONS = {
    None: lambda h: h,
    "sample": lambda h: np.stack([_divided_by_length(row) for row in h]),
    "batch": _divided_by_length,
}


def _forward(net, x, normalise=None, at=0, shift=None):
    """One record (x, h) per layer: x is what the synapse reads, h its activity, normalised in every hidden layer.

    The shift is added to what enters the inlet of layer `at`: the input for 0, else the activity of layer at - 1,
    before its pool. The record of layer at - 1 keeps the activity without the shift.
    """
    records, signal = [], np.asarray(x, dtype=np.float64)
    for level, layer in enumerate(net):
        if shift is not None and level == at:
            signal = signal + shift
        pool = net[level - 1].get("pool") if level else None
        if pool is not None:
            signal = oracles.max_pool(signal, pool)[0]
        inlet = oracles._flat_if_linear(layer, signal)
        h = oracles.act(layer.get("act", "identity"), oracles._synapse(layer, inlet))
        if layer.get("mask") is not None:
            h = h * layer["mask"]
        if level < len(net) - 1:
            h = NORMALISATIONS[normalise](h)
        records.append({"x": inlet, "h": h})
        signal = h
    return records


def _means(layer, signal, p):
    """(sum signal p^T, sum signal) / M over samples and positions, M = N, or N H_out W_out of a convolution."""
    M = signal.shape[0] * math.prod(signal.shape[2:])
    return oracles._divided(oracles._correlation(layer, signal, p), M)


# ------------------------------------------------------------------------------------------------------ PEPITA


def pepita(
    net,
    x,
    t,
    loss,
    F,
    *,
    sign=1,
    presynaptic="modulated",
    output_error="standard",
    normalise=None,
    at=0,
    perturbation=None,
):
    """``oracles.pepita`` with normalised hidden activities, and with the modulation at any layer's input.

    normalise:     every hidden h_l (after f and mask, before the pool) is divided by its L2 norm, of each sample
                   or of the whole batch, in both passes; a norm of zero leaves zeros. Differences and inlets are
                   those of the normalised activities.
    at:            the modulation sign E F, F (C, *shape), enters the inlet of layer `at`; 0 is the input. No layer
                   below `at` changes between the passes: each gets zeros.
    perturbation:  added in the place of sign E F; shaped as what it is added to, (N, *shape).
    """
    if presynaptic not in ("standard", "modulated") or output_error not in ("standard", "modulated"):
        raise ValueError(f"neither standard nor modulated: {presynaptic}, {output_error}")
    standard = _forward(net, x, normalise)
    error = oracles.output_error(standard[-1]["h"], t, loss)[1]
    shift = sign * oracles._project(error, F) if perturbation is None else perturbation
    modulated = _forward(net, x, normalise, at, shift)
    p = modulated if presynaptic == "modulated" else standard
    gradients = []
    for level, layer in enumerate(net[:-1]):
        gradients.append(_means(layer, standard[level]["h"] - modulated[level]["h"], p[level]["x"]))
    if output_error == "modulated":
        error = oracles.output_error(modulated[-1]["h"], t, loss)[1]
    return [*gradients, _means(net[-1], error, p[-1]["x"])]


def _halves(net, records, output):
    """One pass's Hebbian terms: h_l p_l^T / M and the mean of h_l; the last layer's h is `output`."""
    signals = [record["h"] for record in records[:-1]] + [np.asarray(output, dtype=np.float64)]
    return [_means(layer, signal, r["x"]) for layer, signal, r in zip(net, signals, records, strict=True)]


def _plus(left, factor, right):
    """Of two lists of pairs: left + factor right; a bias that is None stays None."""
    pairs = zip(left, right, strict=True)
    return [(w + factor * v, None if b is None else b + factor * c) for (w, b), (v, c) in pairs]


def _standard_and_shift(net, x, t, loss, F, sign):
    """The standard pass, yhat = E + T (the output after the head) and the modulation sign E F."""
    records = _forward(net, x)
    error = oracles.output_error(records[-1]["h"], t, loss)[1]
    return records, error + t, sign * oracles._project(error, F)


def pepita_hebbian(net, x, t, loss, F, *, sign=1):
    """Hebbian PEPITA, h_m and p_m of the modulated pass, M = N or N H_out W_out.

    hidden:  G = (sum h p^T - sum h_m p_m^T) / M,  bias: the mean of h - h_m
    output:  G = (sum yhat p^T - sum t p_m^T) / N,  bias: the mean of yhat - t, yhat of the standard pass
    """
    standard, yhat, shift = _standard_and_shift(net, x, t, loss, F, sign)
    modulated = _forward(net, x, shift=shift)
    return _plus(_halves(net, standard, yhat), -1, _halves(net, modulated, t))


def pepita_local(net, x, t, loss, F, lr, *, sign=1):
    """PEPITA local in time: the (W, b) of every layer after two half updates by plain SGD.

    standard pass, with the old weights:  W+ = W - lr h p^T / M        (output: yhat p^T / N)
    modulated pass, with W+:              W  = W+ + lr h_m p_m^T / M   (output: t p_m^T / N)

    E, and so the modulation, comes from the standard pass. A bias moves by the mean of its h, yhat or t.
    """
    standard, yhat, shift = _standard_and_shift(net, x, t, loss, F, sign)
    parameters = [(layer["W"], layer.get("b")) for layer in net]
    parameters = _plus(parameters, -lr, _halves(net, standard, yhat))
    moved = [layer | {"W": W, "b": b} for layer, (W, b) in zip(net, parameters, strict=True)]
    return _plus(parameters, lr, _halves(moved, _forward(moved, x, shift=shift), t))


def mirror(net, factors, noise, lr, decay, target_std):
    """Weight mirror of F = F_1 ... F_L, F_l (n_{l-1}, n_l), in a net of linear layers: the new factors.

    y = f_l(W_l xi_l + b_l), without mask, softmax in the last layer;  xi_l (N, n_{l-1})
    F_l <- F_l + lr xi_l^T y / N - lr decay F_l, then all F_l times one factor that makes std(F) = target_std
    """
    moved = []
    for level, (layer, F, xi) in enumerate(zip(net, factors, noise, strict=True)):
        a = oracles._synapse(layer, xi)
        if level < len(net) - 1:
            y = oracles.act(layer.get("act", "identity"), a)
        else:
            y = oracles.output_error(a, np.zeros(a.shape), "cross_entropy")[1]  # E is softmax(a) where t is 0
        moved.append(F + lr * oracles._correlation(layer, y, xi)[0].T / len(xi) - lr * decay * F)
    product = moved[0]
    for F in moved[1:]:
        product = product @ F
    factor = (target_std / float(np.std(product))) ** (1 / len(moved))
    return [factor * F for F in moved]


# --------------------------------------------------------------------------------------------- Forward-Forward


def ff_norm(x, goodness):
    """What a layer reads of x (N, n): x / (rms(x) + 1e-8) for goodness "sum", x / (|x| + 1e-4) for "mean"."""
    out = np.zeros(x.shape)
    for n, row in enumerate(np.asarray(x, dtype=np.float64)):
        divisor = {"sum": _length(row) / math.sqrt(len(row)) + 1e-8, "mean": _length(row) + 1e-4}
        out[n] = row / divisor[goodness]
    return out


def ff_activities(weights, biases, x, goodness="sum"):
    """[h_0, ...], h_l = relu(W_l norm(h_{l-1}) + b_l); the first layer reads norm(x). A bias may be None."""
    activities = []
    for W, b in zip(weights, biases, strict=True):
        layer = {"kind": "linear", "W": W, "b": b}
        activities.append(oracles.act("relu", oracles._synapse(layer, ff_norm(x, goodness))))
        x = activities[-1]
    return activities


def _goodness(h, goodness):
    """(g (N,), dg / dh divided by h, theta): g = sum h^2, theta = n;  or g = mean h^2, theta = 2."""
    n = h.shape[1]
    g = np.array([sum(float(v) ** 2 for v in row) for row in h])
    return {"sum": (g, 2.0, n), "mean": (g / n, 2.0 / n, 2.0)}[goodness]


def ff(weights, biases, positive, negative, goodness="sum", running=None, peer=0.0):
    """Forward-Forward: one dict per layer, with gradient (G_W, G_b), loss, h and g (positive, negative) and running.

    loss_l = [sum softplus(theta - g) over positives + sum softplus(g - theta) over negatives] / (their number)
             + peer mean_j (mean(m') - m'_j)^2,   m' = .9 m + .1 (mean of h over the positives)

    The gradient is that of loss_l by W_l and b_l alone, its input held constant. positive and negative (N, n_0) carry
    their label; running: one m (n_l,) per layer, before the batch. The peer term passes the ReLU as the identity.
    """
    samples = [np.asarray(x, dtype=np.float64) for x in (positive, negative)]
    activities = [ff_activities(weights, biases, x, goodness) for x in samples]
    layers = []
    for level, (W, b) in enumerate(zip(weights, biases, strict=True)):
        h = [activity[level] for activity in activities]
        inlets = [
            ff_norm(x if level == 0 else a[level - 1], goodness) for x, a in zip(samples, activities, strict=True)
        ]
        loss, deltas, g = _ff_deltas(h, goodness)
        m = None if running is None else 0.9 * running[level] + 0.1 * h[0].mean(0)
        if peer:
            loss += peer * float(np.mean((m.mean() - m) ** 2))
            slope = peer * 2 / len(m) * (m - m.mean())  # by m'; the part through mean(m') adds up to 0
            deltas[0] = deltas[0] + 0.1 / len(h[0]) * slope
        layer = {"kind": "linear", "W": W, "b": b}
        total = oracles._correlation(layer, np.concatenate(deltas), np.concatenate(inlets))
        layers.append({"gradient": total, "loss": loss, "h": h, "g": g, "running": m})
    return layers


def _ff_deltas(h, goodness):
    """(loss, [delta of the positives, of the negatives], [g, g]); delta carries 1 / (number of samples)."""
    count, loss, deltas, goodnesses = len(h[0]) + len(h[1]), 0.0, [], []
    for activity, y in zip(h, (1, 0), strict=True):
        g, slope, theta = _goodness(activity, goodness)
        margin = g - theta
        loss += float(np.sum(oracles.act("softplus", -margin if y else margin))) / count
        p = oracles.act("sigmoid", margin)
        deltas.append((p - y)[:, None] * slope * activity / count)  # h = 0 where the ReLU is shut: its gate is in h
        goodnesses.append(g)
    return loss, deltas, goodnesses


def ff_readout(activities, readouts, bias, t, goodness="sum", loss="cross_entropy"):
    """The linear readout of Forward-Forward: (logits, one (G_R, None) per readout, with (G_R, G_bias) for the top).

    logits = sum_l R_l norm(h_l) + bias, over all hidden layers but the first (a net of one hidden layer reads it);
    G_R = (1 / N) sum E norm(h_l)^T,  G_bias = (1 / N) sum E. readouts: one R (C, n_l) for each layer it reads.
    """
    read = [ff_norm(h, goodness) for h in (activities[1:] or activities)]
    biases = [None] * (len(read) - 1) + [bias]
    layers = [{"kind": "linear", "W": R, "b": b} for R, b in zip(readouts, biases, strict=True)]
    logits = sum(oracles._synapse(layer, h) for layer, h in zip(layers, read, strict=True))
    error = oracles.output_error(logits, t, loss)[1]
    return logits, [oracles.weight_gradient(layer, error, h) for layer, h in zip(layers, read, strict=True)]
