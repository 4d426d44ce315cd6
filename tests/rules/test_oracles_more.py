"""The oracles of the feedback and the forward rules are checked by torch, by autograd, and by cases that coincide."""

import math

import numpy as np
import oracles
import oracles_feedback as feedback
import oracles_forward as forward
import pytest
import torch
from test_oracles import NETS, assert_same, convnet, mlp
from torch.nn import functional

IN_TORCH = {"identity": torch.clone, "tanh": torch.tanh, "relu": torch.relu}
# how torch normalises h, whose samples come first
LENGTHS = {
    None: lambda h: h,
    "sample": lambda h: functional.normalize(h.flatten(1), dim=1).reshape(h.shape),
    "batch": lambda h: h / torch.linalg.vector_norm(h),
}


def in_torch(layer):
    return torch.tensor(layer["W"]), torch.tensor(layer["b"])


def geometry(layer):
    return {name: layer[name] for name in ("stride", "padding", "dilation", "groups")}


def preactivation(layer, inlet, W, b):
    return functional.conv2d(inlet, W, b, **geometry(layer)) if W.ndim == 4 else functional.linear(inlet, W, b)


def torch_pass(net, x, normalise=None, at=0, shift=0.0):
    """(inlets, hidden activities before their pool and the shift, output) in torch, from tensors."""
    inlets, activities, signal = [], [], x
    for level, layer in enumerate(net):
        signal = signal + shift if level == at else signal
        signal = functional.max_pool2d(signal, 2) if level and net[level - 1]["pool"] else signal
        inlets.append(signal if layer["kind"] == "conv" else signal.flatten(1))
        a = preactivation(layer, inlets[-1], *in_torch(layer))
        mask = layer.get("mask")
        h = IN_TORCH[layer["act"]](a) * (1.0 if mask is None else torch.tensor(mask))
        signal = LENGTHS[normalise](h) if level < len(net) - 1 else h
        activities.append(signal)
    return inlets, activities[:-1], activities[-1]


def torch_mean(layer, signal, inlet):
    """(mean signal inlet^T, mean signal) over samples and positions, by autograd of <signal, W * inlet + b>."""
    W, b = (parameter.requires_grad_() for parameter in in_torch(layer))
    signal = torch.as_tensor(signal)
    count = signal.shape[0] * math.prod(signal.shape[2:])
    gradients = torch.autograd.grad((signal * preactivation(layer, inlet, W, b)).sum() / count, (W, b))
    return tuple(gradient.numpy() for gradient in gradients)


def without_masks(net, x, act):
    """The net without dropout, with one activation, and its inputs as a tensor."""
    return [layer | {"mask": None, "act": act} for layer in net[:-1]] + net[-1:], torch.tensor(x)


def modulation(out, t, F):
    """(E, E F) of the mse."""
    error = out - torch.tensor(t)
    return error, torch.tensordot(error, torch.tensor(F), dims=1)


def shape_at(net, x, at):
    return x.shape[1:] if at == 0 else oracles.forward(net, x)[at - 1]["h"].shape[1:]


# ------------------------------------------------------------------------------------------- feedback: signs


@pytest.mark.parametrize("kind", NETS)
def test_usf_of_weights_of_torchs_glorot_size_is_bp(kind):
    """Catches a wrong fan, a lost scale, and a sign(0) that is not 0: some weights are zero."""
    net, x, t = NETS[kind]()
    for layer in net[1:]:
        fans = torch.nn.init._calculate_fan_in_and_fan_out(torch.tensor(layer["W"]))
        layer["W"] = 1.7 * math.sqrt(2 / sum(fans)) * np.sign(layer["W"]) * (np.abs(layer["W"]) > 0.2)
        assert np.any(layer["W"] == 0)
    assert_same(feedback.usf(net, x, t, "mse", 1.7), oracles.bp(net, x, t, "mse"))


@pytest.mark.parametrize("kind", NETS)
def test_frsf_takes_its_sizes_from_the_magnitudes_and_its_signs_from_the_weights(kind):
    """Catches the size of W leaking in, and magnitudes that meet the wrong layer."""
    net, x, t = NETS[kind]()
    sizes = [np.abs(layer["W"]) for layer in net[1:]]
    bp = oracles.bp(net, x, t, "mse")
    assert_same(feedback.frsf(net, x, t, "mse", sizes), bp)
    thrice = feedback.frsf(net, x, t, "mse", [sizes[0], 3 * sizes[1]])
    assert_same(thrice[:2], [(3 * g_w, 3 * g_b) for g_w, g_b in bp[:2]])


# ------------------------------------------------------------------------------------- feedback: learned paths


def test_kp_shrinks_the_distance_of_w_and_b_by_the_decay_alone():
    """T02: ||W - B|| = (1 - decay)^t of the first; catches a feedback gradient that is not the weight's own."""
    net, x, t = mlp()
    B = [np.random.default_rng(20).normal(size=layer["W"].shape) for layer in net[1:]]
    first = [layer["W"] - b for layer, b in zip(net[1:], B, strict=True)]
    for _ in range(5):
        gradients, learned = feedback.kp(net, x, t, "mse", B)
        assert_same(gradients, oracles.fa(net, x, t, "mse", B))
        B = [0.9 * b - 0.1 * g for b, g in zip(B, learned, strict=True)]
        for layer, (g_w, _) in zip(net, gradients, strict=True):
            layer["W"] = 0.9 * layer["W"] - 0.1 * g_w
    last = [layer["W"] - b for layer, b in zip(net[1:], B, strict=True)]
    assert_same([last], [[0.9**5 * difference for difference in first]])


def isotropic_noise(shape, variance):
    """Plus and minus every unit vector: of mean zero and covariance `variance` times the identity, exactly."""
    units = np.eye(math.prod(shape)).reshape(-1, *shape) * math.sqrt(math.prod(shape) * variance)
    return np.concatenate([units, -units])


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 3)])
@pytest.mark.parametrize(("act", "share"), [("identity", 1.0), ("relu", 0.5)])
def test_wm_expects_the_weights(act, share, shape):
    """E[y xi^T] / (M variance) = W where f is linear, and W / 2 of a ReLU without b; catches M, sign and variance."""
    rng = np.random.default_rng(33)
    conv = len(shape) == 4
    upper = {"kind": "conv" if conv else "linear", "W": rng.normal(size=shape), "act": act}
    upper["b"] = rng.normal(size=4) if act == "identity" else None
    lower = upper | {"W": np.ones((3, 3, *shape[2:])), "b": None}
    head = {"kind": "linear", "W": rng.normal(size=(2, 16 if conv else 4)), "b": rng.normal(size=2)}
    net, x = [lower, upper, head], rng.random((2, 3, 4, 6) if conv else (2, 3))
    noise = [isotropic_noise(record["x"].shape[1:], 0.3) for record in oracles.forward(net, x)[1:]]
    B = [layer["W"] for layer in net[1:]]
    _, learned = feedback.wm(net, x, np.eye(2), "mse", B, noise, 0.3)
    assert_same([learned], [[-share * upper["W"], -head["W"]]])


@pytest.mark.parametrize("kind", NETS)
def test_wm_correlates_the_activity_with_its_noise(kind):
    """Against torch, geometry and all; catches a mask or a pool in y, a lost bias or activation."""
    net, x, t = NETS[kind]()
    rng = np.random.default_rng(21)
    noise = [rng.normal(size=r["x"].shape) for r in oracles.forward(net, x)[1:]]
    B = [layer["W"] for layer in net[1:]]
    expected = []
    for layer, xi in zip(net[1:], map(torch.tensor, noise), strict=True):
        y = IN_TORCH[layer["act"]](preactivation(layer, xi, *in_torch(layer)))
        expected.append(-torch_mean(layer, y, xi)[0] / 0.7)
    gradients, learned = feedback.wm(net, x, t, "mse", B, noise, 0.7)
    assert_same(gradients, oracles.bp(net, x, t, "mse"))
    assert_same([learned], [expected])


# ------------------------------------------------------------------------------ feedback: direct and forward


def test_ssdfa_hears_one_class_a_unit():
    """delta_j = e[class of j] value_j f' m, entry by entry; catches rows and columns of D exchanged."""
    net, x, t = mlp(acts=("tanh",))
    classes, values = [0, 1, 2, 2, 1, 0], [0.4, -0.5, 0.1, -0.2, 0.5, 0.3]
    D = np.zeros((3, 6))
    D[classes, range(6)] = values
    feedback.check_single(D)
    out = oracles.forward(net, x)
    error = out[-1]["h"] - t
    delta = error[:, classes] * values * (1 - np.tanh(out[0]["a"]) ** 2) * net[0]["mask"]
    expected = [(delta.T @ x / 4, delta.mean(0)), *oracles.bp(net, x, t, "mse")[1:]]
    assert_same(feedback.ssdfa(net, x, t, "mse", [D]), expected)


def test_check_single_refuses_two_wires_none_and_too_long_ones():
    """Catches a check that accepts everything, and a bound that forgets `sparse`, C or the positions of a map."""
    wired = np.zeros((4, 2, 3))
    wired[1] = math.sqrt(2 / 6)  # C = 4, sparse = 1, n = 6
    feedback.check_single(wired)
    for refused in (wired * 1.001, wired[[1, 1, 0, 0]] * 0.5, wired * 0):
        with pytest.raises(AssertionError):
            feedback.check_single(refused)
    feedback.check_single(wired[[1, 1, 0, 0]] * 1.1, sparse=2)  # two wires may be longer


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", NETS)
def test_afa_is_the_jvp_of_the_forward_pass(kind, sign):
    """Autograd's jvp of x -> h_l along -sign E F; catches a bias in the push, another pass's winners, a lost mask."""
    net, x, t = NETS[kind]()
    F = np.random.default_rng(22).normal(size=(3, *x.shape[1:]))
    tx = torch.tensor(x)
    inlets, _, out = torch_pass(net, tx)
    error, tangent = modulation(out, t, F)
    _, deltas = torch.autograd.functional.jvp(lambda z: tuple(torch_pass(net, z)[1]), tx, -sign * tangent)
    triples = zip(net, [*deltas, error], inlets, strict=True)
    expected = [oracles.weight_gradient(layer, delta.numpy(), inlet.numpy()) for layer, delta, inlet in triples]
    assert_same(feedback.afa(net, x, t, "mse", F, sign), expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_afa_of_a_linear_net_is_pepita(sign):
    """T10: equal, of any F, with the standard presynaptic activity; catches the sign of either."""
    net, x, t = mlp()
    net, _ = without_masks(net, x, "identity")
    F = np.random.default_rng(23).normal(size=(3, 5))
    expected = forward.pepita(net, x, t, "mse", F, sign=sign, presynaptic="standard")
    assert_same(feedback.afa(net, x, t, "mse", F, sign), expected)


# ----------------------------------------------------------------------------------------------------- PEPITA


@pytest.mark.parametrize(("presynaptic", "output_error"), [("modulated", "standard"), ("standard", "modulated")])
@pytest.mark.parametrize("kind", NETS)
def test_pepita_without_options_is_the_older_oracle(kind, presynaptic, output_error):
    net, x, t = NETS[kind]()
    F = np.random.default_rng(24).normal(size=(3, *x.shape[1:]))
    options = {"sign": -1, "presynaptic": presynaptic, "output_error": output_error}
    expected = oracles.pepita(net, x, t, "cross_entropy", F, **options)
    assert_same(forward.pepita(net, x, t, "cross_entropy", F, **options), expected)


@pytest.mark.parametrize(("kind", "at"), [("mlp", 0), ("mlp", 1), ("mlp", 2), ("convnet", 0), ("convnet", 1)])
@pytest.mark.parametrize("normalise", LENGTHS)
def test_pepita_normalises_and_modulates_as_torch_does(kind, at, normalise):
    """Catches a norm over the wrong axes, after the pool or missing in one pass, and F at another layer's input."""
    net, x, t = NETS[kind]()
    net[1]["act"] = "tanh"  # of a ReLU layer with one live unit the norm is 1 in both passes
    F = np.random.default_rng(25).normal(size=(3, *shape_at(net, x, at)))
    _, hs, out = torch_pass(net, torch.tensor(x), normalise)
    error, shift = modulation(out, t, F)
    inlets_m, hs_m, _ = torch_pass(net, torch.tensor(x), normalise, at, shift)
    signals = [*(h - h_m for h, h_m in zip(hs, hs_m, strict=True)), error]
    expected = [torch_mean(layer, s, inlet) for layer, s, inlet in zip(net, signals, inlets_m, strict=True)]
    gradients = forward.pepita(net, x, t, "mse", F, normalise=normalise, at=at)
    assert all(np.all(g_w == 0) and np.all(g_b == 0) for g_w, g_b in gradients[:at])
    assert_same(gradients[at:], expected[at:])
    same = forward.pepita(net, x, t, "mse", None, normalise=normalise, at=at, perturbation=shift.numpy())
    assert_same(same[at:], expected[at:])


@pytest.mark.parametrize("normalise", ["sample", "batch"])
def test_pepita_of_a_silent_layer_has_zeros(normalise):
    """Catches 0 / 0."""
    net, x, t = mlp(acts=("relu",))
    net[0]["b"] -= 100
    gradients = forward.pepita(net, x, t, "mse", np.ones((3, 5)), normalise=normalise)
    assert np.all(gradients[0][0] == 0) and np.all(gradients[1][0] == 0)


@pytest.mark.parametrize("kind", NETS)
def test_hebbian_pepita_is_the_gradient_of_half_the_squared_norms(kind):
    """T11: autograd of (||h||^2 - ||h_m||^2) / 2M, inlets held constant, ReLU; catches a sign and mixed passes."""
    net, x, t = NETS[kind]()
    net, tx = without_masks(net, x, "relu")
    F = np.random.default_rng(26).normal(size=(3, *x.shape[1:]))
    standard = torch_pass(net, tx)
    _, shift = modulation(standard[2], t, F)
    modulated = torch_pass(net, tx, shift=shift)
    expected = []
    for layer, inlet, inlet_m, h in zip(net[:-1], standard[0], modulated[0], standard[1], strict=False):
        W, b = (parameter.requires_grad_() for parameter in in_torch(layer))
        norms = [torch.relu(preactivation(layer, p.detach(), W, b)).square().sum() for p in (inlet, inlet_m)]
        count = h.shape[0] * math.prod(h.shape[2:])
        expected.append([g.numpy() for g in torch.autograd.grad((norms[0] - norms[1]) / (2 * count), (W, b))])
    (w, b), (w_m, b_m) = (
        torch_mean(net[-1], standard[2], standard[0][-1]),
        torch_mean(net[-1], torch.tensor(t), modulated[0][-1]),
    )
    assert_same(forward.pepita_hebbian(net, x, t, "mse", F), [*expected, (w - w_m, b - b_m)])


@pytest.mark.parametrize("sign", [1, -1])
def test_hebbian_pepita_exceeds_pepita_by_the_inlets_difference(sign):
    """h p - h_m p_m = (h - h_m) p + h_m (p - p_m), with masks and tanh; yhat of the head at the output."""
    net, x, t = convnet()
    F = np.random.default_rng(27).normal(size=(3, *x.shape[1:]))
    hebbian = forward.pepita_hebbian(net, x, t, "cross_entropy", F, sign=sign)
    plain = forward.pepita(net, x, t, "cross_entropy", F, sign=sign, presynaptic="standard")
    inlets, _, out = torch_pass(net, torch.tensor(x))
    shift = sign * torch.tensordot(torch.softmax(out, 1) - torch.tensor(t), torch.tensor(F), dims=1)
    inlets_m, hs_m, _ = torch_pass(net, torch.tensor(x), shift=shift)
    expected = []
    for layer, h_m, p, p_m, (g_w, g_b) in zip(net, [*hs_m, torch.tensor(t)], inlets, inlets_m, plain, strict=True):
        expected.append((g_w + torch_mean(layer, h_m, p - p_m)[0], g_b))
    assert_same(hebbian, expected)


def test_local_pepita_follows_the_matrix_recipe():
    """Two half updates with a large lr; catches E of the second pass, and a layer that reads weights too new or old."""
    net, x, t = mlp(acts=("relu", "relu"))
    F, lr = np.random.default_rng(28).normal(size=(3, 5)), 0.3
    weights, biases = [layer["W"].copy() for layer in net], [layer["b"].copy() for layer in net]
    hidden = [layer["mask"] for layer in net[:-1]]
    yhat, signal, activities = None, x, []
    for step, output in ((-lr, None), (lr, t)):
        inlets = []
        for W, b, mask in zip(weights, biases, hidden, strict=False):
            inlets.append(signal)
            signal = np.maximum(signal @ W.T + b, 0) * mask
        out = signal @ weights[-1].T + biases[-1]
        activities = [*inlets[1:], signal, out if output is None else output]
        yhat = out if yhat is None else yhat
        for index, (h, inlet) in enumerate(zip(activities, [*inlets, signal], strict=True)):
            weights[index] += step * h.T @ inlet / 4
            biases[index] += step * h.mean(0)
        signal = x + (yhat - t) @ F
    before = [layer["W"].copy() for layer in net]
    assert_same(forward.pepita_local(net, x, t, "mse", F, lr), list(zip(weights, biases, strict=True)))
    assert_same([[layer["W"] for layer in net]], [before])


@pytest.mark.parametrize("kind", NETS)
def test_local_pepita_tends_to_hebbian_pepita(kind):
    """T12: their difference falls by 100 where lr falls by 10; catches half updates of different size."""
    net, x, t = NETS[kind]()
    F = 0.1 * np.random.default_rng(29).normal(size=(3, *x.shape[1:]))
    gradients = forward.pepita_hebbian(net, x, t, "cross_entropy", F, sign=-1)
    gaps = []
    for lr in (1e-4, 1e-5):
        new = forward.pepita_local(net, x, t, "cross_entropy", F, lr, sign=-1)
        squares = [
            np.sum((layer[name] - after - lr * g) ** 2)
            for layer, pair, gradient in zip(net, new, gradients, strict=True)
            for name, after, g in zip(("W", "b"), pair, gradient, strict=True)
        ]
        gaps.append(math.sqrt(sum(squares)))
    assert math.log10(gaps[0] / gaps[1]) == pytest.approx(2, abs=0.1)


def test_mirror_follows_the_matrix_recipe():
    """Catches a transposed factor, a decay without lr, the head's softmax missing, and separate rescaling."""
    net, _, _ = mlp(acts=("relu", "tanh"))
    rng = np.random.default_rng(30)
    factors = [rng.normal(size=layer["W"].shape[::-1]) for layer in net]
    noise = [rng.normal(size=(8, layer["W"].shape[1])) for layer in net]
    moved = []
    for layer, F, xi, head in zip(net, factors, noise, (torch.relu, torch.tanh, None), strict=True):
        a = functional.linear(torch.tensor(xi), *in_torch(layer))
        y = (torch.softmax(a, 1) if head is None else head(a)).numpy()
        moved.append((1 - 0.2 * 0.5) * F + 0.2 * xi.T @ y / 8)
    result = forward.mirror(net, factors, noise, 0.2, 0.5, 0.05)
    assert np.std(np.linalg.multi_dot(result)) == pytest.approx(0.05, rel=1e-12)
    factor = result[0][0, 0] / moved[0][0, 0]
    assert factor > 0
    assert_same([result], [[factor * F for F in moved]])


# --------------------------------------------------------------------------------------------- Forward-Forward


def ff_case(seed=31):
    rng = np.random.default_rng(seed)
    weights, biases = [rng.normal(size=(6, 5)), rng.normal(size=(4, 6))], [rng.normal(size=6), rng.normal(size=4)]
    biases[0][2] = -50  # a unit that never fires
    return weights, biases, rng.normal(size=(7, 5)), rng.normal(size=(7, 5))


def torch_norm(x, goodness):
    return x / {"sum": x.square().mean(1).sqrt() + 1e-8, "mean": x.norm(dim=1) + 1e-4}[goodness][:, None]


@pytest.mark.parametrize("peer", [0.0, 0.7])
@pytest.mark.parametrize("goodness", ["sum", "mean"])
def test_ff_is_the_gradient_of_each_layers_loss(goodness, peer):
    """T14: autograd, layer by layer, ReLU straight through; catches 2N against N, theta, the peer's path and sign."""
    weights, biases, *samples = ff_case()
    running = [np.linspace(0, 1, 6), np.linspace(1, 0, 4)]
    layers = forward.ff(weights, biases, *samples, goodness, running, peer)
    xs = [torch.tensor(x) for x in samples]
    for W, b, m, layer in zip(weights, biases, running, layers, strict=True):
        tw, tb = torch.tensor(W, requires_grad=True), torch.tensor(b, requires_grad=True)
        a = [functional.linear(torch_norm(x, goodness), tw, tb) for x in xs]
        h = [v + (torch.relu(v) - v).detach() for v in a]
        g = [v.square().sum(1) if goodness == "sum" else v.square().mean(1) for v in h]
        theta = len(b) if goodness == "sum" else 2
        y = torch.tensor([1.0] * 7 + [0.0] * 7, dtype=torch.float64)
        loss = functional.binary_cross_entropy_with_logits(torch.cat(g) - theta, y)
        new = 0.9 * torch.tensor(m) + 0.1 * h[0].mean(0)
        loss = loss + peer * (new.mean() - new).square().mean()
        assert_same([layer["gradient"]], [[v.numpy() for v in torch.autograd.grad(loss, (tw, tb))]])
        found = [layer["running"], np.array(layer["loss"]), *layer["g"], *layer["h"]]
        assert_same([found], [[v.detach().numpy() for v in (new, loss, *g, *h)]])
        xs = [v.detach() for v in h]


def test_ff_peer_moves_a_silent_unit():
    """Catches a peer term behind the ReLU's gate: without peer the silent unit has no gradient, with it, it has."""
    weights, biases, *samples = ff_case()
    running = [np.full(6, 0.5), np.full(4, 0.5)]
    without, with_peer = (forward.ff(weights, biases, *samples, "sum", running, peer)[0] for peer in (0.0, 0.03))
    assert np.all(without["gradient"][0][2] == 0)
    assert np.any(with_peer["gradient"][0][2] != 0)


def test_ff_reads_no_lengths():
    """The activities forget the scale of the input, and a layer's that of the layer below; catches a lost norm."""
    weights, biases, x, _ = ff_case()
    activities = forward.ff_activities(weights, biases, x)
    assert_same([forward.ff_activities(weights, biases, 3 * x)], [activities], atol=1e-7)
    louder = forward.ff_activities([3 * weights[0], weights[1]], [3 * biases[0], biases[1]], x)
    assert_same([louder], [[3 * activities[0], activities[1]]], atol=1e-7)


@pytest.mark.parametrize(("hidden", "used"), [(1, [0]), (3, [1, 2])])
@pytest.mark.parametrize("goodness", ["sum", "mean"])
def test_ff_readout_is_the_gradient_of_the_cross_entropy(goodness, hidden, used):
    """Autograd on the normalised activities; catches the first layer's presence and a second bias."""
    rng = np.random.default_rng(32)
    activities = [rng.random((5, n)) for n in (6, 4, 3)[:hidden]]
    readouts, bias = [rng.normal(size=(3, activities[level].shape[1])) for level in used], rng.normal(size=3)
    t = np.eye(3)[[0, 2, 1, 1, 0]]
    logits, gradients = forward.ff_readout(activities, readouts, bias, t, goodness)
    parameters = [torch.tensor(value, requires_grad=True) for value in (*readouts, bias)]
    pairs = zip(used, parameters, strict=False)
    out = sum(torch_norm(torch.tensor(activities[level]), goodness) @ R.T for level, R in pairs) + parameters[-1]
    np.testing.assert_allclose(logits, out.detach().numpy(), atol=1e-12)
    expected = [g.numpy() for g in torch.autograd.grad(functional.cross_entropy(out, torch.tensor(t)), parameters)]
    assert [g_b for _, g_b in gradients[:-1]] == [None] * (len(used) - 1)
    assert_same([[g_w for g_w, _ in gradients] + [gradients[-1][1]]], [expected])
