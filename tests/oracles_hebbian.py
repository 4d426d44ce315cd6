"""Slow NumPy float64 oracles of the Hebbian family, written from the equations alone, with loops.

A layer is seen through its samples: the rows of x (M, n). Of a Linear they are the batch; of a convolution every patch
is one, so that M = N H_out W_out and n = in kh kw. W (K, n) has one row a unit, b is (K,) or None, u = W x without the
bias and a = u + b. Every rule returns the direction Delta W (K, n), in which the weights are to go; ``.grad`` holds
minus that. m counts samples, i and j units, d inputs.
"""

import math

import numpy as np

# ------------------------------------------------------------------------------------------------ the samples


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def _mirrored(index, size):
    """Where a position beside the map is reflected to; the border itself does not stand twice."""
    while not 0 <= index < size:
        index = -index if index < 0 else 2 * (size - 1) - index
    return index


def pad(x, padding, mode="zeros"):
    """(N, C, H, W) -> (N, C, H + 2 ph, W + 2 pw), by zeros or by reflection."""
    (ph, pw), (H, W) = _pair(padding), x.shape[2:]
    out = np.zeros((*x.shape[:2], H + 2 * ph, W + 2 * pw))
    for n, c, p, q in np.ndindex(*out.shape):
        y, z = p - ph, q - pw
        if mode == "reflect":
            out[n, c, p, q] = x[n, c, _mirrored(y, H), _mirrored(z, W)]
        elif 0 <= y < H and 0 <= z < W:
            out[n, c, p, q] = x[n, c, y, z]
    return out


def patches(x, kernel_size, stride=1, padding=0, dilation=1, mode="zeros"):
    """(N, C, H, W) -> (N H_out W_out, C kh kw): the patches row by row, each in the order of a weight (C, kh, kw)."""
    x, (kh, kw), (sh, sw), (dh, dw) = pad(x, padding, mode), _pair(kernel_size), _pair(stride), _pair(dilation)
    rows = []
    for n in range(x.shape[0]):
        for top in range(0, x.shape[2] - dh * (kh - 1), sh):
            for left in range(0, x.shape[3] - dw * (kw - 1), sw):
                shape = (x.shape[1], kh, kw)
                rows.append([x[n, c, top + r * dh, left + s * dw] for c, r, s in np.ndindex(*shape)])
    return np.array(rows)


def rows(h):
    """(N, K) or (N, K, H, W) -> (M, K), the samples in the order of ``patches``."""
    if h.ndim == 2:
        return h
    N, K, H, W = h.shape
    return np.array([[h[n, i, p, q] for i in range(K)] for n, p, q in np.ndindex(N, H, W)])


def project(x, W):
    """u_mi = sum_d w_id x_md."""
    u = np.zeros((x.shape[0], W.shape[0]))
    for m, i in np.ndindex(*u.shape):
        u[m, i] = sum(W[i, d] * x[m, d] for d in range(x.shape[1]))
    return u


def preactivation(x, W, b):
    """a_mi = u_mi + b_i."""
    a = project(x, W)
    for m, i in np.ndindex(*a.shape):
        a[m, i] += 0.0 if b is None else b[i]
    return a


def ranking(values):
    """The units from the largest value to the smallest; of equal values the first unit comes first."""
    return sorted(range(len(values)), key=lambda i: (-values[i], i))


# ------------------------------------------------------------------------------------------------ principal components


def hebb(x, W, h, decay=0.0):
    """Delta w_i = (1 / M) sum_m h_mi x_m - decay w_i, with h (M, K) the activity after the activation."""
    M, delta = x.shape[0], np.zeros(W.shape)
    for i, d in np.ndindex(*W.shape):
        delta[i, d] = sum(h[m, i] * x[m, d] for m in range(M)) / M - decay * W[i, d]
    return delta


def oja(x, W):
    """Delta w_i = (1 / M) sum_m (u_mi x_m - u_mi^2 w_i)."""
    u, M, delta = project(x, W), x.shape[0], np.zeros(W.shape)
    for i, d in np.ndindex(*W.shape):
        for m in range(M):
            delta[i, d] += (u[m, i] * x[m, d] - u[m, i] ** 2 * W[i, d]) / M
    return delta


def gha(x, W):
    """Delta w_i = (1 / M) sum_m u_mi (x_m - sum_{j <= i} u_mj w_j)."""
    u, M, delta = project(x, W), x.shape[0], np.zeros(W.shape)
    for i, d in np.ndindex(*W.shape):
        for m in range(M):
            explained = sum(u[m, j] * W[j, d] for j in range(i + 1))
            delta[i, d] += u[m, i] * (x[m, d] - explained) / M
    return delta


# ------------------------------------------------------------------------------------------------ competition


def _attracted(x, W, y, u):
    """Delta w_i = sum_m y_mi x_m - (sum_m y_mi u_mi) w_i."""
    delta = np.zeros(W.shape)
    for i, d in np.ndindex(*W.shape):
        for m in range(x.shape[0]):
            delta[i, d] += y[m, i] * x[m, d] - y[m, i] * u[m, i] * W[i, d]
    return delta


def _over_largest(delta):
    """Divided by the largest absolute entry, unless all are 0."""
    largest = max(abs(value) for value in delta.ravel())
    return delta / largest if largest > 0 else delta


def krotov(x, W, k=2, delta=0.4, p=2.0):
    """v_mi = sum_d sgn(w_id) |w_id|^(p - 1) x_md;  y = +1 for the largest v, -delta for the k-th (k > 1), 0 else.

    Delta w_i = sum_m y_mi x_m - (sum_m y_mi v_mi) w_i, over the largest |entry|.
    """
    powered = np.zeros(W.shape)
    for i, d in np.ndindex(*W.shape):
        powered[i, d] = math.copysign(abs(W[i, d]) ** (p - 1), W[i, d])
    v = project(x, powered)
    y = np.zeros(v.shape)
    for m in range(x.shape[0]):
        order = ranking(v[m])
        if k > 1:
            y[m, order[k - 1]] = -delta
        y[m, order[0]] = 1.0
    return _over_largest(_attracted(x, W, y, v))


def winners(x, W, thresholds, k):
    """y_mi = 1 for the k largest u_mi / |w_i| - threshold_i of a sample, 0 else."""
    a = preactivation(x, W, None) / np.sqrt((W**2).sum(1))
    y = np.zeros(a.shape)
    for m in range(x.shape[0]):
        for i in ranking([a[m, i] - thresholds[i] for i in range(a.shape[1])])[:k]:
            y[m, i] = 1.0
    return y


def miconi(x, W, thresholds, k=2):
    """Delta w_i = (1 / M) sum_m y_mi (x_m - w_i), y of ``winners``."""
    y, M, delta = winners(x, W, thresholds, k), x.shape[0], np.zeros(W.shape)
    for i, d in np.ndindex(*W.shape):
        delta[i, d] = sum(y[m, i] * (x[m, d] - W[i, d]) for m in range(M)) / M
    return delta


def moved_thresholds(x, W, thresholds, k=2, rate=10.0):
    """threshold_i + rate (mean_m y_mi - k / K)."""
    y = winners(x, W, thresholds, k)
    (M, K), moved = y.shape, np.zeros(len(thresholds))
    for i in range(K):
        moved[i] = thresholds[i] + rate * (sum(y[m, i] for m in range(M)) / M - k / K)
    return moved


def softmax(values):
    largest = max(values)
    powers = [math.exp(value - largest) for value in values]
    return [power / sum(powers) for power in powers]


def softhebb(x, W, b, inverse_temperature=1.0, anti_hebbian=True, scale="max"):
    """y_m = softmax_i(t a_mi), negated for all units but the largest where anti_hebbian.

    Delta w_i = sum_m y_mi x_m - (sum_m y_mi u_mi) w_i, over the largest |entry| or, scale=None, over M.
    """
    a = preactivation(x, W, b)
    y = np.zeros(a.shape)
    for m in range(x.shape[0]):
        y[m] = softmax([inverse_temperature * a[m, i] for i in range(a.shape[1])])
        for i in ranking(a[m])[1:]:
            y[m, i] *= -1.0 if anti_hebbian else 1.0
    delta = _attracted(x, W, y, project(x, W))
    return _over_largest(delta) if scale == "max" else delta / x.shape[0]


def label_clamped(x, W, labels, scale="max"):
    """``softhebb`` with y_mi = 1 where i is the label of m, and 0 elsewhere."""
    y = np.zeros((x.shape[0], W.shape[0]))
    for m in range(x.shape[0]):
        y[m, labels[m]] = 1.0
    delta = _attracted(x, W, y, project(x, W))
    return _over_largest(delta) if scale == "max" else delta / x.shape[0]


# ------------------------------------------------------------------------------------------------ maps


def distance_on_grid(i, j, K, grid):
    """Of two of K units: along the ring the shorter way, along the chain, or straight across a square of rows."""
    if grid == "ring":
        return min(abs(i - j), K - abs(i - j))
    if grid == "chain":
        return abs(i - j)
    side = math.isqrt(K)
    if grid != "grid" or side * side != K:
        raise ValueError(f"no grid of that name and size: {grid}, {K}")
    return math.hypot(i // side - j // side, i % side - j % side)


def nearest(x, W):
    """The unit whose weight is nearest to each sample (M,), and the distance (M,)."""
    units, distances = [], []
    for m in range(x.shape[0]):
        far = [math.sqrt(sum((x[m, d] - W[i, d]) ** 2 for d in range(W.shape[1]))) for i in range(W.shape[0])]
        units.append(min(range(len(far)), key=lambda i, far=far: (far[i], i)))
        distances.append(far[units[-1]])
    return np.array(units), np.array(distances)


def som(x, W, grid="ring", sigma=1.0):
    """h_mi = exp(-d(i, winner_m)^2 / (2 sigma^2));  Delta w_i = (1 / M) sum_m h_mi (x_m - w_i)."""
    units, M, K, delta = nearest(x, W)[0], x.shape[0], W.shape[0], np.zeros(W.shape)
    for m, i in np.ndindex(M, K):
        h = math.exp(-(distance_on_grid(i, units[m], K, grid) ** 2) / (2 * sigma**2))
        for d in range(W.shape[1]):
            delta[i, d] += h * (x[m, d] - W[i, d]) / M
    return delta


# --------------------------------------------------------------------------------------------- pairs of samples


def _goodness(a):
    """(g, dg / da) of the pre-activation a (K,) of one pair: the mean of max(a_i, 0)^2."""
    return sum(max(v, 0.0) ** 2 for v in a) / len(a), np.array([2 * max(v, 0.0) / len(a) for v in a])


def scff(x, W, b, count, positive=1.0, negative=1.0, penalty=0.01):
    """-dL / dW, L the mean over samples, and over positions, of softplus(positive - g+) + softplus(g- - negative) +
    penalty g+.  Each pair is two inputs of the same weights, added up: [x, x], and [x, x'] with the x' of the same
    position in the sample before, of which there are ``count``."""
    places, total = len(x) // count, np.zeros(W.shape)
    for n, place in np.ndindex(count, places):
        one, other = x[n * places + place], x[(n - 1) % count * places + place]
        for pair, target in (((one, one), positive), ((one, other), negative)):
            a = np.zeros(len(W))
            for i in range(len(W)):
                a[i] = sum(sum(W[i, d] * v[d] for d in range(len(v))) + (0.0 if b is None else b[i]) for v in pair)
            g, slope = _goodness(a)
            same = other is not one and pair[1] is one
            up = penalty - 1 / (1 + math.exp(g - target)) if same else 1 / (1 + math.exp(target - g))
            for v in pair:
                total += np.outer(up * slope, v)
    return -total / (count * places)


# --------------------------------------------------------------------------------------------------- two views


def lpl_signal(z, other, push=1.0, decorrelate=10.0):
    """dL / dz (N, M) of one view z, beside the other: pull, and half of push and of decorrelate, entry by entry."""
    N, M = z.shape
    mean = [sum(z[:, i]) / N for i in range(M)]
    C = np.zeros((M, M))
    for i, k in np.ndindex(M, M):
        C[i, k] = sum((z[n, i] - mean[i]) * (z[n, k] - mean[k]) for n in range(N)) / (N - 1)
    out = np.zeros(z.shape)
    for n, i in np.ndindex(N, M):
        pull = 2 * (z[n, i] - other[n, i]) / (N * M)
        up = 2 * (z[n, i] - mean[i]) / ((N - 1) * (C[i, i] + 1e-4)) / M
        apart = 4 / ((N - 1) * (M**2 - M)) * sum(C[i, k] * (z[n, k] - mean[k]) for k in range(M) if k != i)
        out[n, i] = pull - push * up / 2 + decorrelate * apart / 2
    return out


# ------------------------------------------------------------------------------------- modules and the optimizer


def repu(a, power=1.0):
    """max(a, 0)^power."""
    out = np.zeros(a.shape)
    for index in np.ndindex(*a.shape):
        out[index] = max(a[index], 0.0) ** power
    return out


def triangle(a, power=1.0):
    """max(a_i - mean_j a_j, 0)^power, the mean over the units (dimension 1) of the same sample and position."""
    centred = np.zeros(a.shape)
    for n, i, *position in np.ndindex(*a.shape):
        place = tuple(position)
        mean = sum(a[(n, j, *place)] for j in range(a.shape[1])) / a.shape[1]
        centred[(n, i, *place)] = a[(n, i, *place)] - mean
    return repu(centred, power)


def norm_sgd(w, gradient, lr, power=0.5):
    """w_i - lr (| ||w_i||_2 - 1 | + 1e-10)^power g_i, a unit i at a time; of one dimension, or power 0: w - lr g."""
    if w.ndim == 1 or power == 0:
        return w - lr * gradient
    out = np.zeros(w.shape)
    for i in range(w.shape[0]):
        r = math.sqrt(sum(value**2 for value in w[i].ravel()))
        out[i] = w[i] - lr * (abs(r - 1) + 1e-10) ** power * gradient[i]
    return out
