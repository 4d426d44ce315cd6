"""The oracles are themselves checked: finite differences, torch's operators, and cases where rules coincide."""

import numpy as np
import oracles
import pytest
import torch

LOSSES = ("cross_entropy", "binary_cross_entropy", "mse")


def _mask(rng, shape, keep=0.7):
    return (rng.random(shape) < keep) / keep


def _targets(rng, n, c):
    return np.eye(c)[rng.integers(c, size=n)]


def mlp(acts=("tanh", "relu"), n=4, seed=0):
    """A net of biased linear layers with masks, inputs and one-hot targets."""
    rng = np.random.default_rng(seed)
    widths = [*[5, 6, 4, 7][: len(acts) + 1], 3]
    net = []
    for inputs, outputs, name in zip(widths, widths[1:], [*acts, "identity"], strict=False):
        layer = {"kind": "linear", "W": rng.normal(size=(outputs, inputs)), "b": rng.normal(size=outputs), "act": name}
        net.append(layer | {"mask": _mask(rng, (n, outputs)) if len(net) < len(acts) else None, "pool": None})
    return net, rng.normal(size=(n, widths[0])), _targets(rng, n, 3)


def convnet(n=2, seed=1):
    """Two convolutions (stride 2, padding 1, groups, dilation), a pool after each, masks, linear output."""
    rng = np.random.default_rng(seed)
    first = {"kind": "conv", "W": rng.normal(size=(4, 1, 3, 2)), "b": rng.normal(size=4), "act": "tanh", "pool": 2}
    first |= {"stride": (2, 1), "padding": 1, "dilation": 1, "groups": 2, "mask": _mask(rng, (n, 4, 5, 10))}
    second = {"kind": "conv", "W": rng.normal(size=(3, 4, 2, 2)), "b": rng.normal(size=3), "act": "relu", "pool": 2}
    second |= {"stride": 1, "padding": 1, "dilation": (1, 2), "groups": 1, "mask": _mask(rng, (n, 3, 3, 5))}
    last = {"kind": "linear", "W": rng.normal(size=(3, 6)), "b": rng.normal(size=3), "act": "identity"}
    return [first, second, last], rng.normal(size=(n, 2, 9, 9)), _targets(rng, n, 3)


NETS = {"mlp": mlp, "convnet": convnet}


def assert_same(left, right, atol=1e-12):
    assert len(left) == len(right)
    for pair_left, pair_right in zip(left, right, strict=True):
        for a, b in zip(pair_left, pair_right, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=atol)
            assert np.any(a != 0)  # two zeros would agree about nothing


def hidden_shapes(net, x):
    return [record["h"].shape[1:] for record in oracles.forward(net, x)[:-1]]


def slope(function, parameter, eps=1e-6):
    """Central differences of a scalar function of an array, which is changed in place and restored."""
    out = np.zeros(parameter.shape)
    for index in np.ndindex(*parameter.shape):
        kept = parameter[index]
        parameter[index] = kept + eps
        up = function()
        parameter[index] = kept - eps
        out[index] = (up - function()) / (2 * eps)
        parameter[index] = kept
    return out


# ------------------------------------------------------------------------------------------------- the parts


@pytest.mark.parametrize("name", oracles.ACTIVATIONS)
def test_activation_agrees_with_torch_and_with_its_slope(name):
    a = np.array([-3.1, -0.8, -0.01, 0.02, 0.6, 2.7])
    in_torch = {"identity": torch.clone, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
    function = in_torch.get(name) or getattr(torch.nn.functional, name)
    np.testing.assert_allclose(oracles.act(name, a), function(torch.tensor(a)).numpy(), atol=1e-13)
    eps = 1e-6
    measured = (oracles.act(name, a + eps) - oracles.act(name, a - eps)) / (2 * eps)
    np.testing.assert_allclose(oracles.act_prime(name, a), measured, atol=1e-8)


@pytest.mark.parametrize(("name", "value"), [("relu", 0.0), ("leaky_relu", 0.01)])
def test_slope_at_the_kink(name, value):
    assert oracles.act_prime(name, np.zeros(1))[0] == value


GEOMETRIES = [(1, 0, 1, 1), (2, 1, 1, 2), ((1, 2), (2, 0), (2, 1), 1), (3, (0, 1), 2, 4)]


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), GEOMETRIES)
def test_convolution_and_its_two_transposes_agree_with_torch(stride, padding, dilation, groups):
    rng = np.random.default_rng(2)
    x, W, b = rng.normal(size=(2, 4, 7, 8)), rng.normal(size=(8, 4 // groups, 3, 2)), rng.normal(size=8)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    a = oracles.conv2d(x, W, b, **geometry)
    tx, tw = torch.tensor(x), torch.tensor(W)
    np.testing.assert_allclose(a, torch.nn.functional.conv2d(tx, tw, torch.tensor(b), **geometry).numpy(), atol=1e-12)
    delta = rng.normal(size=a.shape)
    signal = torch.nn.grad.conv2d_input(tx.shape, tw, torch.tensor(delta), **geometry).numpy()
    np.testing.assert_allclose(oracles.conv2d_transposed(delta, W, x.shape[1:], **geometry), signal, atol=1e-12)
    total = torch.nn.grad.conv2d_weight(tx, tw.shape, torch.tensor(delta), **geometry).numpy()
    np.testing.assert_allclose(oracles.conv2d_correlation(delta, x, W.shape, **geometry), total, atol=1e-12)


def test_pool_agrees_with_torch_and_takes_the_first_of_equal_values():
    h = np.random.default_rng(3).integers(0, 3, size=(2, 3, 5, 7)).astype(float)  # full of ties
    pooled, argmax = oracles.max_pool(h, 2)
    expected, index = torch.nn.functional.max_pool2d(torch.tensor(h), 2, return_indices=True)
    np.testing.assert_array_equal(pooled, expected.numpy())
    np.testing.assert_array_equal(argmax[..., 0] * 7 + argmax[..., 1], index.numpy())


@pytest.mark.parametrize("loss", LOSSES)
def test_error_is_n_times_the_slope_of_the_loss(loss):
    rng = np.random.default_rng(4)
    out, t = rng.normal(size=(3, 4)) * 2, _targets(rng, 3, 4)
    _, error = oracles.output_error(out, t, loss)
    np.testing.assert_allclose(error, 3 * slope(lambda: oracles.output_error(out, t, loss)[0], out), atol=1e-8)


def test_loss_values_agree_with_torch():
    rng = np.random.default_rng(5)
    out, t = rng.normal(size=(3, 4)) * 2, _targets(rng, 3, 4)
    tout, tt, functional = torch.tensor(out), torch.tensor(t), torch.nn.functional
    expected = {
        "cross_entropy": functional.cross_entropy(tout, tt),
        "binary_cross_entropy": functional.binary_cross_entropy_with_logits(tout, tt, reduction="sum") / 3,
        "mse": functional.mse_loss(tout, tt, reduction="sum") / 6,
    }
    for loss in LOSSES:
        np.testing.assert_allclose(oracles.output_error(out, t, loss)[0], expected[loss].item(), rtol=1e-13)


def test_unknown_names_are_refused():
    net, x, t = mlp()
    with pytest.raises(ValueError, match="loss"):
        oracles.bp(net, x, t, "hinge")
    with pytest.raises(ValueError, match="modulated"):
        oracles.pepita(net, x, t, "mse", np.zeros((3, 5)), presynaptic="std")
    with pytest.raises(ValueError, match="last layer"):
        oracles.forward([net[0]], x)


# ------------------------------------------------------------------------------- backpropagation and feedback


@pytest.mark.parametrize(("kind", "loss"), [*(("mlp", loss) for loss in LOSSES), ("convnet", "cross_entropy")])
def test_bp_is_the_slope_of_the_loss(kind, loss):
    net, x, t = NETS[kind]()

    def value():
        return oracles.output_error(oracles.forward(net, x)[-1]["h"], t, loss)[0]

    measured = [(slope(value, layer["W"]), slope(value, layer["b"])) for layer in net]
    assert_same(oracles.bp(net, x, t, loss), measured, atol=1e-7)


@pytest.mark.parametrize("kind", NETS)
def test_fa_with_the_forward_weights_is_bp(kind):
    net, x, t = NETS[kind]()
    B = [layer["W"] for layer in net[1:]]
    assert_same(oracles.fa(net, x, t, "mse", B), oracles.bp(net, x, t, "mse"))


@pytest.mark.parametrize("kind", NETS)
def test_fa_uses_b_only_to_carry_the_signal_down(kind):
    """Hidden deltas are linear in each B: doubling the upper one doubles both hidden layers, and no output changes."""
    net, x, t = NETS[kind]()
    rng = np.random.default_rng(6)
    B = [rng.normal(size=layer["W"].shape) for layer in net[1:]]
    once, twice = oracles.fa(net, x, t, "mse", B), oracles.fa(net, x, t, "mse", [B[0], 2 * B[1]])
    assert_same(twice[:2], [(2 * g_w, 2 * g_b) for g_w, g_b in once[:2]])
    assert_same(twice[2:], once[2:])
    lower = oracles.fa(net, x, t, "mse", [2 * B[0], B[1]])
    assert_same(lower[:1], twice[:1])
    assert_same(lower[1:], once[1:])


def test_shallow_is_the_output_layer_of_bp():
    net, x, t = mlp()
    gradients = oracles.shallow(net, x, t, "cross_entropy")
    assert gradients[:2] == [None, None]
    assert_same(gradients[2:], oracles.bp(net, x, t, "cross_entropy")[2:])


def test_without_a_bias_there_is_no_bias_gradient():
    net, x, t = mlp()
    for layer in net:
        layer["b"] = None
    F = np.ones((3, 5))
    for gradients in (oracles.bp(net, x, t, "mse"), oracles.pepita(net, x, t, "mse", F)):
        assert [g_b for _, g_b in gradients] == [None] * 3


# ---------------------------------------------------------------------------------------- direct projections


def test_dfa_of_two_layers_with_the_forward_weights_is_bp():
    net, x, t = mlp(acts=("gelu",))
    assert_same(oracles.dfa(net, x, t, "mse", [net[1]["W"]]), oracles.bp(net, x, t, "mse"))
    net, x, t = convnet()
    net = [net[0] | {"pool": None}, net[2] | {"W": np.random.default_rng(7).normal(size=(3, 200))}]
    assert_same(oracles.dfa(net, x, t, "mse", [net[1]["W"].reshape(3, 4, 5, 10)]), oracles.bp(net, x, t, "mse"))


def test_dfa_of_linear_layers_with_the_product_of_the_forward_weights_is_bp():
    net, x, t = mlp(acts=("identity", "identity"))
    for layer in net:
        layer["mask"] = None
    D = [net[2]["W"] @ net[1]["W"], net[2]["W"]]
    assert_same(oracles.dfa(net, x, t, "mse", D), oracles.bp(net, x, t, "mse"))


def test_sdfa_of_a_sigmoid_output_is_the_sum_of_d_minus_twice_the_target_row():
    """For yhat in (0, 1): sign(E) = 1 - 2 T, so sign(E) D = 1^T D - 2 T D."""
    net, x, t = convnet()
    rng = np.random.default_rng(8)
    D = [rng.normal(size=(3, *shape)) for shape in hidden_shapes(net, x)]
    loss = "binary_cross_entropy"
    everything = oracles.drtp(net, x, np.ones_like(t), loss, D)
    targets = oracles.drtp(net, x, t, loss, D)
    expected = [(a - 2 * c, b - 2 * d) for (a, b), (c, d) in zip(everything[:2], targets[:2], strict=True)]
    gradients = oracles.sdfa(net, x, t, loss, D)
    assert_same(gradients[:2], expected)
    assert_same(gradients[2:], oracles.bp(net, x, t, loss)[2:])


def test_sign_of_zero_is_zero():
    net, x, _ = mlp()
    out = oracles.forward(net, x)[-1]["h"]
    D = [np.ones((3, 6)), np.ones((3, 4))]
    assert all(np.all(g_w == 0) for g_w, _ in oracles.sdfa(net, x, out, "mse", D))
    assert all(np.any(g_w != 0) for g_w, _ in oracles.sdfa(net, x, out + 1, "mse", D))


@pytest.mark.parametrize("sign", [1, -1])
def test_drtp_reads_the_row_of_the_label(sign):
    net, x, t = mlp(acts=("tanh",))
    D = np.random.default_rng(9).normal(size=(3, 6))
    record = oracles.forward(net, x)[0]
    delta = sign * D[t.argmax(1)] * net[0]["mask"] * (1 - np.tanh(record["a"]) ** 2)
    gradients = oracles.drtp(net, x, t, "cross_entropy", [D], sign=sign)
    assert_same(gradients[:1], [(delta.T @ x / 4, delta.mean(0))])
    assert_same(gradients[1:], oracles.bp(net, x, t, "cross_entropy")[1:])


def test_ifa_of_two_layers_is_dfa():
    net, x, t = mlp(acts=("tanh",))
    D = np.random.default_rng(10).normal(size=(3, 6))
    assert_same(oracles.ifa(net, x, t, "mse", D), oracles.dfa(net, x, t, "mse", [D]))


@pytest.mark.parametrize("kind", [*NETS, "deep"])
def test_ifa_is_a_directional_derivative_of_the_forward_pass(kind):
    """delta_l is the change of h_l per unit step of h_0 along delta_0 (central differences)."""
    net, x, t = mlp(acts=("tanh", "relu", "sigmoid")) if kind == "deep" else NETS[kind]()
    D = np.random.default_rng(11).normal(size=(3, *hidden_shapes(net, x)[0]))
    records = oracles.forward(net, x)
    _, error = oracles.output_error(records[-1]["h"], t, "mse")
    delta = np.einsum("nc,c...->n...", error, D) * net[0]["mask"] * (1 - np.tanh(records[0]["a"]) ** 2)

    def upper_h(step):
        h = records[0]["h"] + step * delta
        inlet = h if net[0]["pool"] is None else oracles.max_pool(h, net[0]["pool"])[0]
        return [record["h"] for record in oracles.forward(net[1:], inlet)[:-1]]

    changes = [(up - down) / 2e-6 for up, down in zip(upper_h(1e-6), upper_h(-1e-6), strict=True)]
    triples = zip(net, [delta, *changes, error], records, strict=True)
    expected = [oracles.weight_gradient(layer, d, record["x"]) for layer, d, record in triples]
    assert_same(oracles.ifa(net, x, t, "mse", D), expected, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- pepita


@pytest.mark.parametrize("kind", NETS)
def test_pepita_without_feedback_has_no_hidden_gradient(kind):
    net, x, t = NETS[kind]()
    F = np.random.default_rng(12).normal(size=(3, *x.shape[1:]))
    assert all(np.any(g_w != 0) and np.any(g_b != 0) for g_w, g_b in oracles.pepita(net, x, t, "mse", F))
    gradients = oracles.pepita(net, x, t, "mse", 0 * F)
    assert all(np.all(g_w == 0) and np.all(g_b == 0) for g_w, g_b in gradients[:-1])
    assert_same(gradients[-1:], oracles.bp(net, x, t, "mse")[-1:])


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("presynaptic", ["modulated", "standard"])
@pytest.mark.parametrize("output_error", ["standard", "modulated"])
def test_pepita_follows_the_matrix_recipe(sign, presynaptic, output_error):
    net, x, t = mlp(acts=("relu", "relu"))
    F = np.random.default_rng(13).normal(size=(3, 5))

    def matrices(signal):
        inlets = [signal]
        for layer in net[:-1]:
            inlets.append(np.maximum(inlets[-1] @ layer["W"].T + layer["b"], 0) * layer["mask"])
        z = np.exp(inlets[-1] @ net[-1]["W"].T + net[-1]["b"])
        return inlets, z / z.sum(1, keepdims=True) - t

    inlets, error = matrices(x)
    inlets_m, error_m = matrices(x + sign * error @ F)
    p = {"modulated": inlets_m, "standard": inlets}[presynaptic]
    e = {"modulated": error_m, "standard": error}[output_error]
    signals = [inlets[1] - inlets_m[1], inlets[2] - inlets_m[2], e]
    expected = [(signal.T @ inlet / 4, signal.mean(0)) for signal, inlet in zip(signals, p, strict=True)]
    options = {"sign": sign, "presynaptic": presynaptic, "output_error": output_error}
    assert_same(oracles.pepita(net, x, t, "cross_entropy", F, **options), expected)


def test_pepita_on_one_by_one_images_is_the_linear_rule():
    net, x, t = mlp()
    F = np.random.default_rng(14).normal(size=(3, 5))
    images = [
        layer | {"kind": "conv", "W": layer["W"][:, :, None, None], "mask": layer["mask"][:, :, None, None]}
        for layer in net[:-1]
    ]
    gradients = oracles.pepita([*images, net[-1]], x[:, :, None, None], t, "mse", F[:, :, None, None])
    flat = [(g_w.reshape(g_w.shape[:2]), g_b) for g_w, g_b in gradients]
    assert_same(flat, oracles.pepita(net, x, t, "mse", F))


def test_pepita_conv_is_the_mean_over_samples_and_positions():
    """Against torch's convolution, pool and weight correlation; each pass pools with its own winners."""
    net, x, t = convnet()
    F = np.random.default_rng(15).normal(size=(3, *x.shape[1:]))

    def maps(signal):
        inlets, hs = [torch.tensor(signal)], []
        for layer, function in zip(net, (torch.tanh, torch.relu), strict=False):
            geometry = {name: layer[name] for name in ("stride", "padding", "dilation", "groups")}
            weights = torch.tensor(layer["W"]), torch.tensor(layer["b"])
            a = torch.nn.functional.conv2d(inlets[-1], *weights, **geometry)
            hs.append(function(a) * torch.tensor(layer["mask"]))
            inlets.append(torch.nn.functional.max_pool2d(hs[-1], 2))
        inlets[-1] = inlets[-1].flatten(1)
        return inlets, hs, inlets[-1].numpy() @ net[-1]["W"].T + net[-1]["b"] - t

    _, hs, error = maps(x)
    inlets_m, hs_m, _ = maps(x + np.einsum("nc,c...->n...", error, F))
    expected = []
    for layer, inlet, h, h_m in zip(net, inlets_m, hs, hs_m, strict=False):
        geometry = {name: layer[name] for name in ("stride", "padding", "dilation", "groups")}
        total = torch.nn.grad.conv2d_weight(inlet, layer["W"].shape, h - h_m, **geometry)
        count = h.shape[0] * h.shape[2] * h.shape[3]
        expected.append(((total / count).numpy(), (h - h_m).mean((0, 2, 3)).numpy()))
    expected.append((error.T @ inlets_m[-1].numpy() / 2, error.mean(0)))
    assert_same(oracles.pepita(net, x, t, "mse", F), expected)
