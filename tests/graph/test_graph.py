"""Feedback alignment on any module graph: against altprop's own rule, against autograd, and written by hand."""

import copy
import io
import pickle

import pytest
import torch
from graph_helpers import BasicBlock, OwnBlock, ResNet, ViT, attention_by_hand, by_hand, close, slopes
from helpers import CLASSES, assert_same, cnn, credit, gradients, labels, loss_of, mlp, strided
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, weight_norm
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from altprop import RULES, Refused
from altprop.graph import KINDS, Aligned, align, feedback, report, restore
from altprop.measure import angle

pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same'", "ignore:.*nested", "ignore:.*weight_norm. is deprecated"
)


def images(n=2):
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def net_of(kind):
    torch.manual_seed(0)
    return {"resnet": lambda: ResNet(1, 4, CLASSES), "vit": ViT}[kind]().double()


def small():
    """A convolution, a norm, in-place nonlinearities and two Linear on (3, 8, 8)."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, groups=1, stride=2), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(36, 6), nn.ReLU(inplace=True), nn.Linear(6, CLASSES),
    ).double()  # fmt: skip


def twin(model, rule="fa", **arguments):
    """A copy, aligned."""
    return align(copy.deepcopy(model), rule, **arguments)


def mirrored(model):
    """Aligned with B = W."""
    model = align(model, "fa")
    matrices = feedback(model)
    for name in matrices.keys():  # noqa: SIM118 (it is no dict)
        matrices[name] = model.get_parameter(name)
    return model


# ---- the rule, against what is not it -------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [mlp, cnn, strided, lambda: nn.Sequential(
    nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.MaxPool2d(2), nn.ReLU(),
    nn.Conv2d(4, 4, 3, stride=2, padding="valid", groups=4), nn.Tanh(), nn.Flatten(), nn.Linear(4, CLASSES),
).double()], ids=["mlp", "cnn", "strided", "grouped"])  # fmt: skip
def test_fa_of_a_sequential_is_the_rule_fa(build):
    """A transposed matrix, a wrong geometry on the way down, or weights in place of feedback."""
    torch.manual_seed(0)
    net = build()
    x = torch.randn(4, 2, 6, 6).double() if isinstance(net[0], nn.Conv2d) else torch.randn(4, 5).double()
    rule = RULES["fa"](net, example=x)
    model = twin(net, seed=5)
    matrices = feedback(model)
    for index, layer in enumerate(rule.layers[1:]):
        rule.feedback[index] = matrices[layer.name]
    loss_of(model(x), labels(), "cross_entropy").backward()
    assert_same(gradients(model), credit(rule, x, labels()), 1e-12)


MODULES = {
    "linear": lambda: (nn.Linear(3, 4), (5, 3)), "no bias": lambda: (nn.Linear(3, 4, bias=False), (5, 3)),
    "one row": lambda: (nn.Linear(3, 4), (3,)),
    "many": lambda: (nn.Linear(3, 4), (2, 5, 2, 3)),
    "none": lambda: (nn.Linear(3, 4), (0, 5, 3)),
    "conv1d": lambda: (nn.Conv1d(2, 4, 3, 2, 1, groups=2), (3, 2, 7)),
    "conv2d": lambda: (nn.Conv2d(2, 4, (3, 2), (2, 1), (1, 0), (1, 2), bias=False), (3, 2, 7, 6)),
    "conv3d": lambda: (nn.Conv3d(2, 3, 2, padding=1), (2, 2, 4, 3, 3)),
    "unbatched": lambda: (nn.Conv2d(2, 3, 3), (2, 5, 5)),
    "uneven": lambda: (nn.Conv2d(2, 3, (2, 3), padding="same"), (3, 2, 5, 4)),
    "circular": lambda: (nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode="circular"), (3, 2, 5, 4)),
    "reflect": lambda: (nn.Conv1d(2, 3, 3, padding=2, padding_mode="reflect"), (3, 2, 5)),
}  # fmt: skip


def module_of(name):
    """(a module, an input), from a seed: of few units under a ReLU all may be silent by chance."""
    torch.manual_seed(0)
    module, shape = MODULES[name]()
    return module.double(), torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("name", MODULES)
def test_with_its_own_weight_for_feedback_a_module_is_autograd(name):
    """B = W: outputs are torch's to the bit, and so are, but for rounding, all gradients."""
    module, x = module_of(name)
    module = nn.Sequential(module, nn.ReLU(inplace=True))
    (want, exact), (got, found) = slopes(module, x), slopes(mirrored(copy.deepcopy(module)), x)
    assert torch.equal(got, want)
    if x.numel():
        close(found, exact)
        assert not torch.allclose(slopes(twin(module), x)[1]["x"], exact["x"])


def attention(**options):
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, **options).double()
    for name, bias in module.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(bias)  # torch's are zero
    return module


def sequences(same=False, wide=False, first=True, batched=True):
    """query (N, L, E), key and value (N, S, .), or all of them one tensor."""
    torch.manual_seed(1)
    q, k, v = torch.randn(3, 4, 8).double(), torch.randn(3, 5, 8 - wide).double(), torch.randn(3, 5, 8 + wide).double()
    q, k, v = (q, q, q) if same else (q, k, v)
    q, k, v = (q[0], k[0], v[0]) if not batched else (q, k, v)
    if not first and batched:
        q, k, v = (q.transpose(0, 1),) * 3 if same else (x.transpose(0, 1) for x in (q, k, v))
        q, k, v = (q, q, q) if same else (q, k, v)
    return q, k, v


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 7, "vdim": 9}, {"dropout": 0.4}], ids=str)
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("layout", ["first", "second", "unbatched"])
@pytest.mark.parametrize("need", ["no weights", "mean", "heads"])
def test_attention_is_that_of_torch(options, same, layout, need):
    """Outputs, weights and, with B = W, gradients, in every layout; the same dropout from the same seed."""
    wide = "kdim" in options
    if wide and same:
        return
    module = attention(batch_first=layout == "first", **options)
    arguments = sequences(same, wide, layout == "first", layout != "unbatched")
    more = {"need_weights": need != "no weights", "average_attn_weights": need != "heads"}
    found = []
    for each in (module, mirrored(copy.deepcopy(module))):
        torch.manual_seed(3)
        inputs = [x.clone().requires_grad_() for x in arguments[:1]] * 3
        inputs = inputs if same else [x.clone().requires_grad_() for x in arguments]
        out, weights = each(*inputs, **more)
        (out.sin().sum() + (0 if weights is None else weights.square().sum())).backward()
        tensors = {"out": out.detach(), **{f"x{i}": x.grad for i, x in enumerate(inputs)}, **gradients(each)}
        found.append(tensors if weights is None else {**tensors, "weights": weights.detach()})
    close(found[1], found[0])


def test_attention_whose_query_is_its_key_still_reads_its_value():
    """One product for all three is right only where all three are one tensor."""
    module = attention(batch_first=True)
    x, _, _ = sequences(same=True)
    want = module(x, x, -x)[0]
    torch.testing.assert_close(align(module)(x, x, -x)[0], want, atol=1e-12, rtol=1e-12)


CAUSAL = torch.ones(4, 4, dtype=torch.bool).triu(1)
FLOAT = torch.zeros(4, 4, dtype=torch.float64).masked_fill(CAUSAL, -torch.inf)
PADDING = torch.tensor([[False] * 4, [False, False, False, True], [False, False, True, True]])
MASKS = {
    "bool": {"attn_mask": CAUSAL}, "float": {"attn_mask": FLOAT + 0.3}, "padding": {"key_padding_mask": PADDING},
    "heads": {"attn_mask": torch.arange(96).view(6, 4, 4) % 5 == 1},
    "both": {"attn_mask": CAUSAL, "key_padding_mask": PADDING},
    "both, by head": {"attn_mask": torch.arange(96).view(6, 4, 4) % 5 == 3, "key_padding_mask": PADDING},
    "float padding": {"key_padding_mask": PADDING.double() * -2},
    "causal": {"attn_mask": CAUSAL, "is_causal": True},
    "causal, padded": {"attn_mask": FLOAT, "is_causal": True, "key_padding_mask": torch.zeros(3, 4).double()},
}  # fmt: skip


@pytest.mark.parametrize("need", [False, True])
@pytest.mark.parametrize("mask", MASKS)
def test_attention_masks_are_those_of_torch(mask, need):
    """A mask turned round, dropped, or spread over heads in another order."""
    module = attention(batch_first=True)
    inputs = sequences(same=True)
    want, looks = module(*inputs, **MASKS[mask], need_weights=need)
    assert not torch.allclose(want, module(*inputs, need_weights=need)[0])
    got, found = align(module)(*inputs, **MASKS[mask], need_weights=need)
    torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(found, looks, atol=1e-12, rtol=1e-12)


def test_attention_refuses_masks_that_do_not_fit():
    """A mask of another shape would be spread where torch would stop."""
    module = align(attention(batch_first=True))
    with pytest.raises(Refused, match=r"shape \(2, 4\) came for 4 queries and 4 keys"):
        module(*sequences(same=True), attn_mask=CAUSAL[:2])
    with pytest.raises(Refused, match="is_causal=True came without attn_mask"):
        module(*sequences(same=True), is_causal=True)


@pytest.mark.parametrize("wide", [False, True])
def test_attention_by_hand(wide):
    """Feedback of one projection in the place of another, or on the way up: each is written out, head by head."""
    module = attention(batch_first=True, **({"kdim": 7, "vdim": 9} if wide else {}))
    x = [[each.clone().requires_grad_() for each in sequences(wide=wide)] for _ in range(2)]
    model = twin(module, seed=3)
    closed = torch.arange(60).view(3, 4, 5) % 7 == 2
    matrices = {name.removesuffix(".weight"): B for name, B in dict(feedback(model)).items()}
    want, looks = attention_by_hand(module, matrices, *x[0], closed=closed)
    got, found = model(*x[1], attn_mask=closed.repeat_interleave(2, 0), average_attn_weights=False)
    for out, weights in ((want, looks), (got, found)):
        (out.sin().sum() + weights.square().sum()).backward()
    close({"out": got.detach(), **gradients(model)}, {"out": want.detach(), **gradients(module)})
    close(*({i: each.grad for i, each in enumerate(side)} for side in x))


@pytest.mark.parametrize("rule", KINDS)
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_whole_nets_by_hand(kind, rule):
    """ResNet and transformer: every matrix reaches its own module, and nothing else changes."""
    net = net_of(kind)
    model = twin(net, rule, seed=4)
    want, got = slopes(by_hand(net, Stand(model, images())), images()), slopes(model, images())
    torch.testing.assert_close(got[0], want[0], atol=1e-12, rtol=1e-12)
    close(got[1], want[1])
    assert not torch.allclose(slopes(net, images())[1]["x"], got[1]["x"])


class Stand(dict):
    """The matrices that a pass with seed 0 uses, by path and by name; brsf draws them in that pass."""

    def __init__(self, model, x):
        slopes(model, x)
        matrices = feedback(model)
        super().__init__({name.removesuffix(".weight"): B.clone() for name, B in dict(matrices).items()})


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
def test_transformer_encoders_keep_their_outputs(training, first, layers):
    """In train and in eval mode, with a graph and on torch's fast path, which reads weights by itself."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 12, 0.3, batch_first=True, norm_first=first).double().train(training)
    model = layer if layers == 1 else nn.TransformerEncoder(layer, 2)
    model.train(training)
    other = twin(model)
    x = sequences(same=True)[0]
    for graph in (torch.enable_grad, torch.no_grad):
        outs = []
        for each in (model, other):
            torch.manual_seed(2)
            with graph():
                outs.append(each(x, src_key_padding_mask=PADDING))
        torch.testing.assert_close(outs[1], outs[0], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("rule", ["fa", "kp"])
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_it_makes_no_more_products_than_backpropagation(kind, rule):
    """A second way down, or kp's increment computed twice, would show in the count of operations."""
    counts = []
    for model in (net_of(kind), align(net_of(kind), rule)):
        with FlopCounterMode(display=False) as counter:
            model(images()).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


# ---- the six rules ---------------------------------------------------------------------------------------------------


def test_usf_of_equal_magnitudes_is_backpropagation():
    """T01: where every |W| is s the signs are the weights; and sign(0) = 0."""
    for name in ("linear", "conv1d", "conv3d"):
        module, x = module_of(name)
        fans = nn.init._calculate_fan_in_and_fan_out(module.weight)
        with torch.no_grad():
            module.weight.copy_(0.7 * (2 / sum(fans)) ** 0.5 * module.weight.sign())
        close(slopes(twin(module, "usf", scale=0.7), x)[1], slopes(module, x)[1])
    with torch.no_grad():
        module.weight.zero_()
    assert slopes(align(module, "usf"), x)[1]["x"].abs().max() == 0


@pytest.mark.parametrize("rule", ["usf", "frsf", "brsf"])
def test_signs_follow_the_weights_and_magnitudes_do_not(rule):
    """sign(B) = sign(W) after steps that turn signs; |B| stays (frsf), is one number (usf) or is new (brsf)."""
    model = align(net_of("vit"), rule)
    matrices = feedback(model)
    before, signs = dict(matrices), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        model(images()).square().sum().backward()
        optimizer.step()
    for name, B in dict(matrices).items():
        assert torch.equal(B.sign(), model.get_parameter(name).sign())
        assert torch.equal(B.abs(), before[name].abs()) == (rule != "brsf")
        assert (B.abs().unique().numel() == 1) == (rule == "usf")
        signs.append(bool((B.sign() != before[name].sign()).any()))
    assert any(signs) and not list(matrices.parameters())


def test_brsf_draws_at_every_forward_in_training_only():
    """From torch's own stream, so that a resumed run draws the same; a pass that waits keeps what it drew."""
    model, x = align(small(), "brsf"), images()
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model(x)
        drawn.append(feedback(model)["4"])
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    torch.manual_seed(1)
    want = slopes(model, x, seed=1)[1]
    model.zero_grad()
    torch.manual_seed(1)
    first = model(x).sin().mul(torch.linspace(1, 2, 6, dtype=torch.float64).view(2, 3)).sum()
    model(x)
    first.backward()
    close(gradients(model), {name: g for name, g in want.items() if name != "x"})
    before = dict(feedback(model.eval()))
    model(x)
    assert torch.equal(feedback(model)["4"], before["4.weight"])


def test_brsf_under_a_checkpoint_is_brsf():
    """The recomputed pass must draw what the first drew, where dropout draws from the same stream."""
    torch.manual_seed(0)
    block = align(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4)).double(), "brsf")
    x = torch.randn(3, 4).double()

    class Checkpointed(nn.Module):
        def __init__(self, reentrant):
            super().__init__()
            self.block, self.reentrant = block, reentrant

        def forward(self, x):
            return checkpoint(self.block, x, use_reentrant=self.reentrant)

    want = slopes(block, x)[1]
    for reentrant in (True, False):
        close({k.removeprefix("block."): g for k, g in slopes(Checkpointed(reentrant), x)[1].items()}, want)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_kp_feedback_receives_what_the_weights_receive(momentum):
    """T02: W - B moves by decay alone, whatever the gradients are; a factor (1 - lr decay) a step without momentum."""
    model = align(net_of("vit"), "kp")
    matrices = feedback(model)
    lr, decay = 0.1, 0.2
    optimizer = torch.optim.SGD(
        [*matrices.param_groups(lr), {"params": model.parameters()}], lr=lr, momentum=momentum, weight_decay=decay
    )

    def difference():
        return {name: model.get_parameter(name).detach() - B for name, B in dict(matrices).items()}

    D, velocity = difference(), dict.fromkeys(matrices.keys(), 0.0)
    first = D
    for _ in range(4):
        optimizer.zero_grad()
        for _ in range(2):  # micro-batches add up
            model(images()).square().mean().backward()
        for (name, B), parameter in zip(dict(matrices).items(), matrices.parameters(), strict=True):
            W = model.get_parameter(name)
            assert torch.equal(W.grad, parameter.grad) and W.grad.data_ptr() != parameter.grad.data_ptr()
            assert W.grad.abs().max() > 0 and B.shape == parameter.shape
        optimizer.step()
        velocity = {name: momentum * velocity[name] + decay * D[name] for name in D}
        D = {name: D[name] - lr * velocity[name] for name in D}
        close(difference(), D, 1e-10)
    if not momentum:
        close(D, {name: (1 - lr * decay) ** 4 * d for name, d in first.items()}, 1e-10)


def test_kp_of_a_frozen_weight_learns_nothing():
    """The twin of an increment that is not made."""
    model = align(small(), "kp")
    model[4].weight.requires_grad_(False)
    model(images()).sum().backward()
    have = {key: p.grad is not None for key, p in feedback(model).named_parameters()}
    assert have == {"0.feedback.weight": True, "4.feedback.weight": False, "6.feedback.weight": True}
    assert not model.requires_grad_(False)(images()).requires_grad


def odd():
    """A net of every shape of weight there is, biases not zero."""
    torch.manual_seed(0)
    net = nn.ModuleDict({
        "conv": nn.Conv2d(4, 6, (3, 2), groups=2, stride=2, padding=1), "linear": nn.Linear(5, 4, bias=False),
        "packed": nn.MultiheadAttention(4, 2), "wide": nn.MultiheadAttention(4, 2, kdim=3, vdim=2),
    }).double()  # fmt: skip
    for name in ("packed", "wide"):
        nn.init.normal_(net[name].in_proj_bias, std=0.1)
    return net


def test_wm_mirrors_minus_the_weight_on_the_mean():
    """E[y^T xi] / (S noise^2) = W for every shape of weight, the groups of a convolution kept apart; and it adds."""
    model = align(odd(), "wm", noise=10.0)
    matrices = feedback(model)
    torch.manual_seed(0)
    matrices.mirror(20_000)
    matrices.mirror(20_000)
    for (name, _), parameter in zip(dict(matrices).items(), matrices.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, -2 * model.get_parameter(name), atol=0.12, rtol=0, msg=name)
    assert all(p.grad is None for p in model.parameters())


def test_wm_by_hand():
    """One mirror of two samples, product by product, for a grouped convolution: no b in y, the noise is N(0, .5^2)."""
    model = align(odd()["conv"], "wm", noise=0.5)
    torch.manual_seed(7)
    feedback(model).mirror(2)
    torch.manual_seed(7)
    xi = 0.5 * torch.randn(2, 2, 12, dtype=torch.float64)  # (S, groups, in / groups * kernel)
    want = torch.zeros_like(model.weight)
    for sample in range(2):
        y = F.conv2d(xi[sample].view(4, 3, 2), model.weight, groups=2)  # (6, 1, 1): one position
        for out in range(6):
            want[out] -= (y[out] * xi[sample].view(2, 2, 3, 2)[out // 3]).detach() / (2 * 0.25)
    torch.testing.assert_close(feedback(model)._modules["feedback"].weight.grad, want, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", ["packed", "wide"])
def test_wm_of_an_attention_by_hand(kind):
    """Every projection mirrors its own rows."""
    module = align(odd()[kind], "wm", noise=1.0)
    torch.manual_seed(7)
    feedback(module).mirror(1)
    torch.manual_seed(7)
    names = ["in_proj_weight"] if kind == "packed" else [f"{n}_proj_weight" for n in "qkv"]
    for name in names:
        W = module.get_parameter(name).detach()
        xi = torch.randn(1, 1, W.shape[1], dtype=torch.float64).flatten()
        want = -torch.outer(W @ xi, xi)
        torch.testing.assert_close(getattr(module._altprop, name).grad, want, atol=1e-12, rtol=1e-12)


def test_wm_brings_the_feedback_to_the_weights():
    """T03: the angle falls from about 90 below 10 degrees, and with decay 1 the length comes out right too."""
    model = align(odd(), "wm")
    matrices = feedback(model)
    optimizer = torch.optim.SGD([*matrices.param_groups(0.9), {"params": model.parameters()}], lr=0.9, momentum=0.9)
    torch.manual_seed(0)
    track = []
    for _ in range(4):
        track.append([angle(B, model.get_parameter(name).detach()) for name, B in dict(matrices).items()])
        for _ in range(25):
            optimizer.zero_grad()
            matrices.mirror(samples=512)
            optimizer.step()
    assert min(track[0]) > 50 and all(a > b for a, b in zip(track[0], track[1], strict=True))
    assert sum(track[2]) < sum(track[1]) and max(track[-1]) < 10
    for name, B in dict(matrices).items():
        assert 0.9 < B.norm() / model.get_parameter(name).norm() < 1.1


# ---- what is converted, kept, refused --------------------------------------------------------------------------------


class Plain(nn.Linear):
    """Torch's forward, and a method of its own."""

    def halved(self):
        return self.weight / 2


class Own(nn.Linear):
    """A forward of its own."""

    def forward(self, x):
        return super().forward(x) * 2


class Table(nn.Module):
    """A matrix used in a way nobody can see from outside."""

    def __init__(self, *shape):
        super().__init__()
        self.table = nn.Parameter(torch.randn(shape))


KEPT = [
    nn.BatchNorm2d(3), nn.LayerNorm((2, 3)), nn.GroupNorm(1, 3), nn.RMSNorm((2, 3)), nn.InstanceNorm1d(3, affine=True),
    nn.SyncBatchNorm(3), nn.PReLU(3), nn.Embedding(4, 3), nn.EmbeddingBag(4, 3), Table(3), Table(1, 5, 4),
    Table(3, 1, 1), Table(),
]  # fmt: skip
REFUSALS = {
    "recurrent": lambda: nn.LSTM(2, 2), "products": lambda: nn.GRUCell(2, 2),
    "two inputs": lambda: nn.Bilinear(2, 2, 2),
    "Upsample": lambda: nn.ConvTranspose2d(2, 2, 2), "shape is not known": lambda: nn.LazyLinear(3),
    "'table' of shape (3, 2)": lambda: Table(3, 2), "weight_norm": lambda: weight_norm(nn.Conv1d(2, 2, 2)),
    "forward is not torch's": lambda: Own(2, 2), "add_bias_kv": lambda: nn.MultiheadAttention(4, 2, add_bias_kv=True),
    "add_zero_attn": lambda: nn.MultiheadAttention(4, 2, add_zero_attn=True),
    "real numbers": lambda: nn.Linear(2, 2, dtype=torch.complex64),
    "pruning": lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", 1),
    "computed": lambda: parametrizations.weight_norm(nn.Linear(2, 2)),
    "remove_parametrizations": lambda: parametrizations.orthogonal(nn.Linear(2, 2, bias=False)),
}  # fmt: skip


def test_report_of_a_resnet_and_a_vit():
    """Every module with parameters, before and after; outputs, class, keys and parameters as they were."""
    for kind, kept in (("resnet", "bn|shortcut.1"), ("vit", "norm|mlp.0")):
        net = net_of(kind)
        before, keys, parameters, want = report(net), list(net.state_dict()), list(net.parameters()), net(images())
        holders = {path for path, m in net.named_modules() if list(m.parameters(recurse=False))}
        assert set(before) == holders and set(before.values()) == {"converted", "kept"}
        exact = {path for path, verdict in before.items() if verdict == "kept"}
        marks = kept.split("|")
        assert exact == {path for path in holders if any(m in path for m in marks) or path in ("", "block")}
        assert align(net) is net and type(net) in (ResNet, ViT) and report(net) == before
        assert list(net.state_dict()) == keys and [*map(id, net.parameters())] == [*map(id, parameters)]
        torch.testing.assert_close(net(images()), want, atol=1e-12, rtol=1e-12)
        matrices = feedback(net)
        assert {key.rpartition(".")[0] for key in matrices.keys()} == holders - exact  # noqa: SIM118
        assert all(B.shape == net.get_parameter(key).shape for key, B in dict(matrices).items())


@pytest.mark.parametrize("module", KEPT, ids=lambda m: type(m).__name__)
def test_what_is_exact_by_definition_is_kept(module):
    """Norms, embeddings, tokens, scales: refusing them would refuse every net."""
    assert report(nn.Sequential(module))["0"] == "kept"


@pytest.mark.parametrize("why", REFUSALS)
def test_what_is_not_known_is_refused_by_path_and_class(why):
    """A silent fallback to backpropagation, or a model half converted when the error came."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ModuleDict({"odd": REFUSALS[why]()}))
    kind = type(model[1]["odd"]).__name__
    before = [dict(vars(m)) for m in model.modules()]
    refused = {path for path, verdict in report(model).items() if verdict == "refused"}
    with pytest.raises(Refused, match=r"module '1\.odd") as caught:
        align(model)
    message = str(caught.value)
    assert "keep=['1.odd" in message and (why in message or why in ("remove_parametrizations", "computed"))
    assert f"({kind})" in message or "ParametrizationList" in message
    assert type(model[0]) is nn.Linear and [dict(vars(m)) for m in model.modules()] == before
    align(model, strict=False)
    assert refused and {path for path, verdict in report(model).items() if verdict == "refused"} == refused
    assert type(model[1]["odd"]).__name__ == kind and report(model)["0"] == "converted"


def test_not_strict_leaves_an_ordinary_backward():
    """An LSTM below aligned Linear: its own gradients come from autograd, given what comes down to it."""
    torch.manual_seed(0)

    class Sequence(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0])

    net, x = Sequence().double(), torch.randn(5, 2, 3).double()
    model = twin(net, strict=False)
    assert report(model) == {"lstm": "refused", "head": "converted"}
    want = slopes(by_hand(net, {"head": feedback(model)["head"]}), x)[1]
    close(slopes(model, x)[1], want)


def test_keep_declares_modules_exact():
    """By path and by class; an attention keeps its output projection, whose weight it reads by itself."""
    net = net_of("vit")
    model = twin(net, keep=["block.attn", nn.modules.conv._ConvNd])
    kept = {path for path, verdict in report(model).items() if verdict == "kept"} - {
        path for path, verdict in report(net).items() if verdict == "kept"
    }
    assert kept == {"block.attn", "block.attn.out_proj", "patches"}
    B = {k.removesuffix(".weight"): v for k, v in dict(feedback(model)).items()}
    W = {k.removesuffix(".weight"): p.detach() for k, p in net.named_parameters()}
    close(slopes(model, images())[1], slopes(by_hand(net, W | B), images())[1])
    assert set(report(align(nn.Sequential(nn.Linear(2, 2), Table(3, 2)), keep=Table)).values()) == {"converted", "kept"}
    with pytest.raises(Refused, match=r"keep names 'heda', but no module"):
        twin(net, keep="heda")


def test_errors_name_what_came():
    """Rule, initialiser, noise, a second alignment, none at all, and paths of matrices."""
    with pytest.raises(Refused, match="'dfa' came; there are fa, usf, frsf, brsf, kp, wm"):
        align(small(), "dfa")
    with pytest.raises(Refused, match="initialiser 'he'"):
        align(small(), init="he")
    with pytest.raises(Refused, match="noise 0"):
        align(small(), "wm", noise=0)
    with pytest.raises(Refused, match=r"restore\(model\) first"):
        align(align(small()))
    with pytest.raises(Refused, match=r"altprop.align\(model\) first"):
        feedback(small())
    with pytest.raises(Refused, match="no Linear"):
        align(nn.Sequential(nn.LayerNorm(3)))
    model = align(small(), "usf")
    with pytest.raises(Refused, match=r"'3'.*0.weight, 4.weight, 6.weight"):
        feedback(model)["3"]
    with pytest.raises(Refused, match="rule 'usf' computes it"):
        feedback(model)["4"] = model[4].weight
    with pytest.raises(Refused, match="only rule 'wm'"):
        feedback(model).mirror()
    with pytest.raises(Refused, match=r"shape \(6, 36\), but \(36, 6\) came"):
        feedback(align(small()))["4"] = torch.zeros(36, 6)


def test_a_module_that_came_in_later_is_not_said_to_be_aligned():
    """A new head after align learns by backpropagation, and the report says that."""
    model = align(small())
    model[6] = nn.Linear(6, 2).double()
    assert report(model)["6"] == "refused" and report(model)["4"] == "converted"


# ---- life of a model -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", KINDS)
def test_restore_leaves_nothing(rule):
    """Classes, attributes and gradients are the user's again; then it may be aligned anew."""
    net = nn.Sequential(*small(), nn.Unflatten(1, (1, CLASSES)), Plain(CLASSES, 2).double(), Table(1).double())[:9]
    before, classes = [dict(vars(m)) for m in net.modules()], [type(m) for m in net.modules()]
    want = slopes(copy.deepcopy(net), images())[1]
    align(net, rule)
    assert isinstance(net[8], Plain) and torch.equal(net[8].halved(), net[8].weight / 2)
    assert restore(net) is net and [type(m) for m in net.modules()] == classes
    assert [vars(m).keys() for m in net.modules()] == [attributes.keys() for attributes in before]
    close(slopes(net, images())[1], want, 0)
    align(net, "fa")


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved])
@pytest.mark.parametrize("rule", KINDS)
def test_copies_carry_their_feedback_and_are_apart(rule, way):
    """A copy that shared the matrices, or lost them, or its class."""
    model = align(nn.Sequential(net_of("vit"), Plain(CLASSES, 2).double()), rule, seed=3)
    other = way(model)
    want = slopes(model, images())[1]
    close(slopes(other, images())[1], want, 0)
    assert [type(m) for m in other.modules()] == [type(m) for m in model.modules()] and report(other) == report(model)
    held, copied = (list(feedback(m).state_dict().values()) for m in (model, other))
    assert len(held) == len(copied) > 0 and not {t.data_ptr() for t in held} & {t.data_ptr() for t in copied}


@pytest.mark.parametrize("rule", KINDS)
def test_feedback_moves_with_the_model(rule):
    """A matrix left in float64, or an optimizer whose parameters are no longer those of the backward."""
    model = align(net_of("vit"), rule)
    before = [*map(id, feedback(model).parameters())]
    model.float()
    assert all(t.dtype == torch.float32 for t in feedback(model).state_dict().values())
    assert [*map(id, feedback(model).parameters())] == before
    assert slopes(model, images().float())[1]["x"].dtype == torch.float32
    model.to("meta")
    assert all(t.is_meta for t in feedback(model).state_dict().values())
    images_last = align(small().to(memory_format=torch.channels_last), rule)
    assert all(B.is_contiguous(memory_format=torch.channels_last) for B in [feedback(images_last)["0"]])


@pytest.mark.parametrize("rule", KINDS)
def test_feedback_is_saved_and_loaded(rule):
    """Keys with the module's path; loaded into another seed it gives the same gradients."""
    model, other = align(net_of("vit"), rule, seed=1), align(net_of("vit"), rule, seed=2)
    state = feedback(model).state_dict()
    assert "block.attn.feedback.in_proj_weight" in state and "block.attn.out_proj.feedback.weight" in state
    assert len(state) == len(feedback(model).keys())
    want = slopes(model, images())[1]
    if rule in ("fa", "frsf", "kp", "wm"):
        assert not torch.allclose(slopes(other, images())[1]["x"], want["x"])
    assert feedback(other).load_state_dict(state).missing_keys == []
    close(slopes(other, images())[1], want, 0)


def test_an_optimizer_on_the_feedback_trains_what_the_backward_uses():
    """Called twice, feedback(model) gives two modules with the same tensors."""
    model = align(small(), "kp")
    once, twice = feedback(model), feedback(model)
    assert [*map(id, once.parameters())] == [*map(id, twice.parameters())] and len(list(once.parameters())) == 3
    assert not {id(p) for p in once.parameters()} & {id(p) for p in model.parameters()}
    before = slopes(model, images())[1]["x"]
    torch.optim.SGD(once.parameters(), lr=1.0).step()
    assert not torch.allclose(slopes(model, images())[1]["x"], before)
    assert once.param_groups(0.3) == [{"params": list(once.parameters()), "lr": 0.3}]
    assert feedback(align(small())).param_groups(0.3) == []


def test_the_seed_decides_the_feedback_and_nothing_else():
    """Its own generator draws: torch's stream, and the weights that seed draws, have no part in it."""
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, again, other = (dict(feedback(align(small(), seed=s))) for s in (3, 3, 4))
    torch.manual_seed(0)
    align(small(), "kp", seed=3)
    small()
    assert state.shape == torch.get_rng_state().shape
    torch.manual_seed(0)
    model, before = small(), torch.get_rng_state()
    align(model, "frsf", seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    close(first, again, 0)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    scaled = dict(feedback(align(small(), seed=3, scale=0.5)))
    close(scaled, {name: B / 2 for name, B in first.items()}, 1e-15)
    drawn = []
    for scale in (1.0, 0.5):  # the redrawn ones as well
        model = align(small(), "brsf", scale=scale)
        torch.manual_seed(0)
        model(images())
        drawn.append(dict(feedback(model)))
    close(drawn[1], {name: B / 2 for name, B in drawn[0].items()}, 1e-15)


def test_shared_weights_have_feedback_of_their_own_each():
    """Two modules with one Parameter: its gradient is the sum, each signal comes down through its own matrix."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()
    model = twin(net)
    model[2].weight = model[0].weight
    net[2].weight = net[0].weight
    B = {path: feedback(model)[path] for path in ("0", "2")}
    assert not torch.equal(*B.values())
    x = torch.randn(3, 4).double()
    close(slopes(model, x)[1], slopes(by_hand(net, B), x)[1])


@pytest.mark.parametrize("rule", KINDS)
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_autocast(kind, rule):
    """bfloat16 up and down, float32 gradients that point where those of float32 point."""
    model, x = align(net_of(kind), rule).float(), images(8).float()
    want = slopes(model, x)[1]
    x.requires_grad_()
    model.zero_grad()
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.bfloat16
    y = y.float()
    (y.sin() * torch.linspace(1, 2, y.numel()).view_as(y)).sum().backward()
    got = {"x": x.grad, **{name: p.grad for name, p in model.named_parameters()}}
    assert all(g.dtype == torch.float32 for g in got.values())
    top = [name for name in got if name.startswith(("fc", "head"))]
    assert all(angle(got[name], want[name]) < 5 for name in top) and angle(got["x"], want["x"]) < 45
    if rule == "kp":
        assert all(p.grad.dtype == torch.float32 for p in feedback(model).parameters())


@pytest.mark.parametrize("rule", ["fa", "brsf", "kp"])
def test_compiled_it_is_the_same(rule):
    """In one graph; what dynamo traces must be the aligned backward, brsf's draws included."""
    torch._dynamo.reset()
    model, x = align(small(), rule), images()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for seed in (0, 1):
        want = slopes(model, x, seed)[1]
        learned = [p.grad.clone() for p in feedback(model).parameters() if p.grad is not None]
        feedback(model).zero_grad()
        got = slopes(compiled, x, seed)[1]
        close({name.removeprefix("_orig_mod."): g for name, g in got.items()}, want)
        for before, parameter in zip(learned, feedback(model).parameters(), strict=False):
            torch.testing.assert_close(parameter.grad, before)
        feedback(model).zero_grad()


def test_compiled_attention_is_the_same():
    """The own forward of an attention, in one graph."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, x = align(OwnBlock(4, 2).double(), "kp"), torch.randn(2, 3, 4).double()
    want = slopes(model, x)[1]
    got = slopes(torch.compile(model, backend="aot_eager", fullgraph=True), x)[1]
    close({name.removeprefix("_orig_mod."): g for name, g in got.items()}, want)


def test_large_products_and_signals_without_strides():
    """The route of large float32 products, and a signal that is one number spread over a matrix."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(256, 256), nn.Linear(256, 128))
    x = torch.randn(64, 256, requires_grad=True)
    net(x).sum().backward()
    want, at_x = gradients(net), x.grad
    model, x.grad = mirrored(copy.deepcopy(net)), None
    model.zero_grad()
    model(x).sum().backward()
    close(gradients(model), want, 1e-3)
    torch.testing.assert_close(x.grad, at_x, atol=1e-4, rtol=1e-4)


def test_gradients_sample_by_sample():
    """torch.func: a vmapped gradient of one sample each sums to that of the batch."""
    model, x = align(small().eval()), images(3)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters, x):
        return torch.func.functional_call(model, parameters, (x[None],)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    model(x).square().sum().backward()
    close({name: g.sum(0) for name, g in each.items()}, gradients(model), 1e-10)


# ---- as a rule of the training loop ----------------------------------------------------------------------------------


def residual():
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(block, BasicBlock(4, 6, 2), nn.Flatten(), nn.Linear(24, CLASSES)).double()


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "mse"])
@pytest.mark.parametrize("rule", ["fa", "usf", "kp"])
def test_aligned_credit_is_the_backward_of_its_loss(rule, loss):
    """It adds, it returns the loss, it leaves grad mode and input alone, it calls ready from the top down."""
    net, x = residual(), images(4)
    plain = twin(net, rule, seed=2)
    subject = Aligned(net, align=rule, example=x, loss=loss, seed=2)
    want = loss_of(plain(x), labels(), loss)
    want.backward()
    order = []
    with torch.no_grad():
        torch.testing.assert_close(subject.credit(x, labels(), order.append), want.detach())
    assert_same(gradients(net), gradients(plain))
    subject.credit(x.requires_grad_(), labels())
    assert_same(gradients(net), {name: 2 * g for name, g in gradients(plain).items()})
    assert order == subject.layers[::-1] and x.grad is None
    assert subject.claims.weight_transport == ("signs" if rule == "usf" else "none")
    assert Aligned.claims.weight_transport == "none"


def test_aligned_holds_and_trains_its_matrices():
    """state_dict, parameters and groups of the rule have them; a copy is whole; other arguments arrive."""
    x = images(4)
    subject = Aligned(residual(), align="kp", example=x, seed=2, keep=["3"])
    assert "learned.0.0.feedback.weight" in subject.state_dict() and report(subject.net)["3"] == "kept"
    groups = subject.param_groups(0.3)
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in subject.parameters()}
    assert [group["lr"] for group in groups] == [0.3, 0.3]
    other = Aligned(residual(), align="kp", example=x, seed=9, keep=["3"])
    other.load_state_dict(subject.state_dict())
    whole = copy.deepcopy(subject)
    want = credit(subject, x, labels())
    for each in (other, whole):
        assert_same(credit(each, x, labels()), want, 0)
    assert [*map(id, whole.learned.parameters())] == [*map(id, feedback(whole.net).parameters())]


def test_aligned_mirrors_in_training_only():
    """wm learns beside every batch, from as many samples of noise; eval mode draws nothing."""
    x = images(4)
    subject = Aligned(residual(), align="wm", example=x, noise=0.3)
    state = torch.get_rng_state()
    subject.eval().credit(x, labels())
    assert torch.equal(state, torch.get_rng_state()) and all(p.grad is None for p in subject.learned.parameters())
    torch.manual_seed(0)
    subject.train().credit(x, labels())
    got = [p.grad.clone() for p in subject.learned.parameters()]
    subject.zero_grad()
    torch.manual_seed(0)
    subject.learned.mirror(4)
    assert all(torch.equal(p.grad, g) for p, g in zip(subject.learned.parameters(), got, strict=True)) and len(got) == 5
    assert subject.param_groups(0.3)[1] | {"params": 0} == {
        "params": 0,
        "lr": 0.1,
        "weight_decay": 1.0,
        "momentum": 0.0,
    }
