"""Slow NumPy float64 oracles of the learning rules, written from the equations alone.

A net is a list of dicts, one per layer (``b``, ``mask``, ``pool`` may be left out and ``act`` is then "identity"):

    {"kind": "linear", "W": (out, in), "b": (out,), "act": "relu", "mask": (N, out), "pool": None}
    {"kind": "conv", "W": (out, in / groups, kh, kw), "b": (out,), "act": "relu", "mask": (N, out, H, W), "pool": k,
     "stride": 1, "padding": 0, "dilation": 1, "groups": 1}

Layer l:  a_l = W_l * inlet_l + b_l,  h_l = f(a_l) m_l,  inlet_{l+1} = pool_k(h_l), flattened where layer l+1 is linear.
The mask holds the factor 1 / keep. The last layer is linear, with no activation, mask or pool.
Layers count from 0. N = samples, C = outputs, E = Yhat - T (never divided by N).

Every rule returns one pair per layer, (G_W, G_b or None), or None for a layer that does not learn:

    G_W = (1 / N) sum_n delta[n] inlet[n]^T   (conv: summed over the positions too),   G_b = (1 / N) sum_n delta[n].
"""

import math

import numpy as np

# ------------------------------------------------------------------------------------------------ activations


def _sigmoid(v):
    return 1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v))


def _gauss_cdf(v):
    return 0.5 * (1 + math.erf(v / math.sqrt(2)))


def _gauss_pdf(v):
    return math.exp(-v * v / 2) / math.sqrt(2 * math.pi)


# name: (f, f'), both of the pre-activation; at a kink f' is the derivative from the left
ACTIVATIONS = {
    "identity": (lambda v: v, lambda v: 1.0),
    "relu": (lambda v: max(v, 0.0), lambda v: 1.0 if v > 0 else 0.0),
    "leaky_relu": (lambda v: v if v > 0 else 0.01 * v, lambda v: 1.0 if v > 0 else 0.01),
    "tanh": (math.tanh, lambda v: 1 - math.tanh(v) ** 2),
    "sigmoid": (_sigmoid, lambda v: _sigmoid(v) * (1 - _sigmoid(v))),
    "gelu": (lambda v: v * _gauss_cdf(v), lambda v: _gauss_cdf(v) + v * _gauss_pdf(v)),
    "elu": (lambda v: v if v > 0 else math.expm1(v), lambda v: 1.0 if v > 0 else math.exp(v)),
    "silu": (lambda v: v * _sigmoid(v), lambda v: _sigmoid(v) * (1 + v * (1 - _sigmoid(v)))),
    "softplus": (lambda v: max(v, 0.0) + math.log1p(math.exp(-abs(v))), _sigmoid),
}


def _each(function, values):
    """The scalar function of every entry."""
    out = np.zeros(values.shape)
    for index in np.ndindex(*values.shape):
        out[index] = function(float(values[index]))
    return out


def act(name, a):
    """f(a)."""
    return _each(ACTIVATIONS[name][0], a)


def act_prime(name, a):
    """f'(a)."""
    return _each(ACTIVATIONS[name][1], a)


# ---------------------------------------------------------------------------------------- convolution by loops


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def conv_out_size(in_size, kernel_size, stride=1, padding=0, dilation=1):
    """(H_out, W_out), out = floor((in + 2 padding - dilation (kernel - 1) - 1) / stride) + 1."""
    sizes = zip(in_size, kernel_size, _pair(stride), _pair(padding), _pair(dilation), strict=True)
    return tuple((i + 2 * p - d * (k - 1) - 1) // s + 1 for i, k, s, p, d in sizes)


def _products(in_size, w_shape, stride, padding, dilation, groups):
    """Every product of a convolution: output index (o, p, q), weight index (o, i, u, v), input index (c, y, z).

    y = p stride - padding + u dilation, and likewise z; products with the zero padding are left out.
    Output channel o reads the input channels of its group g = o // (out / groups): c = g (in / groups) + i.
    """
    out_ch, in_ch, kh, kw = w_shape
    (sh, sw), (ph, pw), (dh, dw) = _pair(stride), _pair(padding), _pair(dilation)
    out_h, out_w = conv_out_size(in_size, (kh, kw), stride, padding, dilation)
    for o, p, q in np.ndindex(out_ch, out_h, out_w):
        for i, u, v in np.ndindex(in_ch, kh, kw):
            c = o // (out_ch // groups) * in_ch + i
            y = p * sh - ph + u * dh
            z = q * sw - pw + v * dw
            if 0 <= y < in_size[0] and 0 <= z < in_size[1]:
                yield (o, p, q), (o, i, u, v), (c, y, z)


def conv2d(x, W, b=None, stride=1, padding=0, dilation=1, groups=1):
    """a[n, o, p, q] = b[o] + sum over i, u, v of W[o, i, u, v] x[n, c, y, z]."""
    a = np.zeros((x.shape[0], W.shape[0], *conv_out_size(x.shape[2:], W.shape[2:], stride, padding, dilation)))
    for (o, p, q), w, (c, y, z) in _products(x.shape[2:], W.shape, stride, padding, dilation, groups):
        a[:, o, p, q] += W[w] * x[:, c, y, z]
    if b is not None:
        for o in range(W.shape[0]):
            a[:, o] += b[o]
    return a


def conv2d_transposed(delta, B, in_shape, stride=1, padding=0, dilation=1, groups=1):
    """The signal at the inlet: s[n, c, y, z] = sum of B[o, i, u, v] delta[n, o, p, q]; in_shape = (channels, H, W)."""
    signal = np.zeros((delta.shape[0], *in_shape))
    for (o, p, q), w, (c, y, z) in _products(in_shape[1:], B.shape, stride, padding, dilation, groups):
        signal[:, c, y, z] += B[w] * delta[:, o, p, q]
    return signal


def conv2d_correlation(delta, x, w_shape, stride=1, padding=0, dilation=1, groups=1):
    """G[o, i, u, v] = sum over samples and positions of delta[n, o, p, q] x[n, c, y, z] (a sum, divided by nothing)."""
    total = np.zeros(w_shape)
    for (o, p, q), w, (c, y, z) in _products(x.shape[2:], w_shape, stride, padding, dilation, groups):
        for n in range(x.shape[0]):
            total[w] += delta[n, o, p, q] * x[n, c, y, z]
    return total


def _geometry(layer):
    defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    return {name: layer.get(name, default) for name, default in defaults.items()}


# ------------------------------------------------------------------------------------------- max-pool by loops


def max_pool(h, k):
    """k x k max-pool of stride k (incomplete windows are dropped): the pooled map, and the (y, z) each entry came from.

    Of equal values, the first in row-major order wins.
    """
    pooled = np.zeros((*h.shape[:2], h.shape[2] // k, h.shape[3] // k))
    argmax = np.zeros((*pooled.shape, 2), dtype=int)
    for n, c, p, q in np.ndindex(*pooled.shape):
        best = -math.inf
        for y in range(p * k, p * k + k):
            for z in range(q * k, q * k + k):
                if h[n, c, y, z] > best:
                    best = h[n, c, y, z]
                    argmax[n, c, p, q] = y, z
        pooled[n, c, p, q] = best
    return pooled, argmax


def _gather(values, argmax):
    """The entries of a pre-pool map at the winners."""
    out = np.zeros(argmax.shape[:4])
    for n, c, p, q in np.ndindex(*out.shape):
        y, z = argmax[n, c, p, q]
        out[n, c, p, q] = values[n, c, y, z]
    return out


def _scatter(values, argmax, shape):
    """The transpose of _gather: every pooled entry goes to its winner, the losers get 0."""
    out = np.zeros(shape)
    for n, c, p, q in np.ndindex(*values.shape):
        y, z = argmax[n, c, p, q]
        out[n, c, y, z] += values[n, c, p, q]
    return out


# ------------------------------------------------------------------------------------------------ the net


def _synapse(layer, x, bias=True):
    """a = W * x (+ b)."""
    b = layer.get("b") if bias else None
    if layer["kind"] == "conv":
        return conv2d(x, layer["W"], b, **_geometry(layer))
    a = np.zeros((x.shape[0], layer["W"].shape[0]))
    for n, j in np.ndindex(*a.shape):
        a[n, j] = sum(layer["W"][j, i] * x[n, i] for i in range(x.shape[1])) + (0.0 if b is None else b[j])
    return a


def _flat_if_linear(layer, x):
    return x.reshape(x.shape[0], -1) if layer["kind"] == "linear" else x


def forward(net, x):
    """One record per layer: x (what the synapse reads, after pool and flatten), a, h (pre-pool), argmax (of its pool).

    a = W * x + b,  h = f(a) m.
    """
    last = net[-1]
    if last["kind"] != "linear" or last.get("act", "identity") != "identity":
        raise ValueError("the last layer must be linear, with the identity as its activation")
    if last.get("mask") is not None or last.get("pool") is not None:
        raise ValueError("the last layer can have neither a mask nor a pool")
    records, signal = [], np.asarray(x, dtype=np.float64)
    for layer in net:
        inlet = _flat_if_linear(layer, signal)
        a = _synapse(layer, inlet)
        h = act(layer.get("act", "identity"), a)
        if layer.get("mask") is not None:
            h = h * layer["mask"]
        signal, argmax = (h, None) if layer.get("pool") is None else max_pool(h, layer["pool"])
        records.append({"x": inlet, "a": a, "h": h, "argmax": argmax})
    return records


def output_error(out, t, loss):
    """(loss value, E), E[n, c] = yhat[n, c] - t[n, c], which is N times the gradient of the loss at `out`.

    cross_entropy:         yhat = softmax(out),   loss = (1 / N) sum_n -sum_c t log yhat   (rows of t add up to 1)
    binary_cross_entropy:  yhat = sigmoid(out),   loss = (1 / N) sum_n sum_c -t log yhat - (1 - t) log(1 - yhat)
    mse:                   yhat = out,            loss = (1 / N) sum_n sum_c (yhat - t)^2 / 2
    """
    value, error = 0.0, np.zeros(out.shape)
    for n in range(out.shape[0]):
        top = max(out[n])
        log_sum = top + math.log(sum(math.exp(z - top) for z in out[n]))
        for c in range(out.shape[1]):
            z, target = float(out[n, c]), float(t[n, c])
            if loss == "cross_entropy":
                yhat = math.exp(z - log_sum)
                value += target * (log_sum - z)
            elif loss == "binary_cross_entropy":
                yhat = _sigmoid(z)
                value += max(z, 0.0) + math.log1p(math.exp(-abs(z))) - target * z
            elif loss == "mse":
                yhat = z
                value += (yhat - target) ** 2 / 2
            else:
                raise ValueError(f"unknown loss: {loss}")
            error[n, c] = yhat - target
    return value / out.shape[0], error


_output_error = output_error  # pepita has an option of that name


def _correlation(layer, delta, x):
    """(sum of delta times inlet, sum of delta) over samples and positions; the second is None for a layer without b."""
    if layer["kind"] == "conv":
        total_w = conv2d_correlation(delta, x, layer["W"].shape, **_geometry(layer))
    else:
        total_w = np.zeros(layer["W"].shape)
        for n, j, i in np.ndindex(delta.shape[0], *total_w.shape):
            total_w[j, i] += delta[n, j] * x[n, i]
    if layer.get("b") is None:
        return total_w, None
    total_b = np.zeros(layer["W"].shape[0])
    for index in np.ndindex(*delta.shape):
        total_b[index[1]] += delta[index]
    return total_w, total_b


def _divided(pair, count):
    return tuple(None if total is None else total / count for total in pair)


def weight_gradient(layer, delta, x):
    """(G_W, G_b) = (1 / N) sum over samples (and positions) of (delta inlet^T, delta)."""
    return _divided(_correlation(layer, delta, x), delta.shape[0])


def _weight_gradients(net, records, deltas):
    triples = zip(net, records, deltas, strict=True)
    return [None if delta is None else weight_gradient(layer, delta, r["x"]) for layer, r, delta in triples]


def _at_preactivation(layer, record, signal):
    """A signal at h, taken to a: delta = signal m f'(a)."""
    mask = 1.0 if layer.get("mask") is None else layer["mask"]
    return signal * mask * act_prime(layer.get("act", "identity"), record["a"])


def _down_to_h(record, signal):
    """A signal at the next layer's inlet, taken down to this layer's h: unflatten, then back through the pool."""
    if record["argmax"] is None:
        return signal.reshape(record["h"].shape)
    return _scatter(signal.reshape(record["argmax"].shape[:4]), record["argmax"], record["h"].shape)


def _project(e, D):
    """s[n] = sum_c e[n, c] D[c]; D has shape (C, ...)."""
    signal = np.zeros((e.shape[0], *D.shape[1:]))
    for n, c in np.ndindex(*e.shape):
        signal[n] += e[n, c] * D[c]
    return signal


# ---------------------------------------------------------------------------------- rules with one forward pass


def bp(net, x, t, loss):
    """Backpropagation: delta_L = E;  delta_l = (W_{l+1}^T delta_{l+1}) m_l f'(a_l).

    W_{l+1} is written out as a dense matrix, convolutions included, by sending the unit vectors through the layer.
    """
    records = forward(net, x)
    deltas = [output_error(records[-1]["h"], t, loss)[1]]
    for level in range(len(net) - 2, -1, -1):
        delta, inlet_shape = deltas[0], records[level + 1]["x"].shape[1:]
        units = np.eye(math.prod(inlet_shape)).reshape(-1, *inlet_shape)
        rows = _synapse(net[level + 1], units, bias=False).reshape(len(units), -1)  # row i: what input i sends up
        signal = np.zeros((delta.shape[0], len(units)))
        for n in range(delta.shape[0]):
            for i in range(len(units)):
                signal[n, i] = np.sum(rows[i] * delta[n].ravel())
        deltas.insert(0, _at_preactivation(net[level], records[level], _down_to_h(records[level], signal)))
    return _weight_gradients(net, records, deltas)


def shallow(net, x, t, loss):
    """Only the output layer learns: delta_L = E."""
    records = forward(net, x)
    error = output_error(records[-1]["h"], t, loss)[1]
    return _weight_gradients(net, records, [None] * (len(net) - 1) + [error])


def fa(net, x, t, loss, B):
    """Feedback alignment: delta_L = E;  delta_l = (B_{l+1}^T delta_{l+1}) m_l f'(a_l).

    B[l] has the shape of the W of layer l + 1 and brings the signal from layer l + 1 down to layer l.
    """
    records = forward(net, x)
    deltas = [output_error(records[-1]["h"], t, loss)[1]]
    for level in range(len(net) - 2, -1, -1):
        delta, above, inlet_shape = deltas[0], net[level + 1], records[level + 1]["x"].shape
        if above["kind"] == "conv":
            signal = conv2d_transposed(delta, B[level], inlet_shape[1:], **_geometry(above))
        else:
            signal = np.zeros(inlet_shape)
            for n, i in np.ndindex(*inlet_shape):
                signal[n, i] = sum(delta[n, j] * B[level][j, i] for j in range(delta.shape[1]))
        deltas.insert(0, _at_preactivation(net[level], records[level], _down_to_h(records[level], signal)))
    return _weight_gradients(net, records, deltas)


def _direct(net, x, t, loss, D, teaching):
    """delta_L = E;  delta_l = (teaching(E) D_l) m_l f'(a_l)."""
    records = forward(net, x)
    error = output_error(records[-1]["h"], t, loss)[1]
    deltas = []
    for level in range(len(net) - 1):
        deltas.append(_at_preactivation(net[level], records[level], _project(teaching(error), D[level])))
    return _weight_gradients(net, records, [*deltas, error])


def dfa(net, x, t, loss, D):
    """Direct feedback alignment: delta_L = E;  delta_l = (E D_l) m_l f'(a_l), D[l] of shape (C, *out_l), at h_l."""
    return _direct(net, x, t, loss, D, lambda error: error)


def sdfa(net, x, t, loss, D):
    """Sign DFA: delta_L = E;  delta_l = (sign(E) D_l) m_l f'(a_l), sign(0) = 0."""
    return _direct(net, x, t, loss, D, lambda error: _each(lambda e: float((e > 0) - (e < 0)), error))


def drtp(net, x, t, loss, D, sign=+1):
    """Direct random target projection: delta_L = E;  delta_l = sign (T D_l) m_l f'(a_l)."""
    return _direct(net, x, t, loss, D, lambda error: sign * np.asarray(t, dtype=np.float64))


def ifa(net, x, t, loss, D):
    """Indirect feedback alignment: the error enters at the first layer and travels up, through the forward weights.

    delta_0 = (E D) m_0 f'(a_0);  delta_l = (W_l * pool(delta_{l-1})) m_l f'(a_l), without b;  delta_L = E.
    D is one array (C, *out_0). The pool gathers delta_{l-1} at the winners of the forward pass.
    A net of one layer has only delta_L = E.
    """
    records = forward(net, x)
    error = output_error(records[-1]["h"], t, loss)[1]
    deltas = []
    for level in range(len(net) - 1):
        if level == 0:
            signal = _project(error, D)
        else:
            argmax = records[level - 1]["argmax"]
            carried = deltas[-1] if argmax is None else _gather(deltas[-1], argmax)
            signal = _synapse(net[level], _flat_if_linear(net[level], carried), bias=False)
        deltas.append(_at_preactivation(net[level], records[level], signal))
    return _weight_gradients(net, records, [*deltas, error])


# --------------------------------------------------------------------------------------------------- PEPITA


def pepita(net, x, t, loss, F, sign=+1, presynaptic="modulated", output_error="standard"):
    """PEPITA: a standard pass on x, then a modulated pass on x_m[n] = x[n] + sign sum_c E[n, c] F[c], F (C, *in).

    hidden, linear:  G = (1 / N) sum_n (h - h_m) p^T
    hidden, conv:    the same sum over samples and positions, divided by N H_out W_out; h is the pre-pool map
    bias:            the same mean of h - h_m
    output:          G = (1 / N) sum_n E p^T, bias (1 / N) sum_n E

    p is the layer's inlet and E the error, each of the standard or of the modulated pass, as the options say. Both
    passes use the same masks, each pools with its own winners, and (h - h_m) is not masked a second time.
    """
    for option in (presynaptic, output_error):
        if option not in ("standard", "modulated"):
            raise ValueError(f"neither standard nor modulated: {option}")
    standard = forward(net, x)
    error = _output_error(standard[-1]["h"], t, loss)[1]
    modulated = forward(net, np.asarray(x, dtype=np.float64) + sign * _project(error, F))
    p = modulated if presynaptic == "modulated" else standard
    gradients = []
    for level in range(len(net) - 1):
        difference = standard[level]["h"] - modulated[level]["h"]
        samples_and_positions = difference.shape[0] * math.prod(difference.shape[2:])
        gradients.append(_divided(_correlation(net[level], difference, p[level]["x"]), samples_and_positions))
    if output_error == "modulated":
        error = _output_error(modulated[-1]["h"], t, loss)[1]
    gradients.append(weight_gradient(net[-1], error, p[-1]["x"]))
    return gradients
