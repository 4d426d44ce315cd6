"""Feedback alignment on any module graph: an ordinary backward pass, in which each Linear, each convolution and each
projection of an attention hands its signal down through feedback B in place of its weight W.

    delta_x = delta_y B                          delta_y, delta_x: the signal at a module's output and at its input
    W.grad += delta_y^T x,  b.grad += sum delta_y
    fa     B drawn once
    usf    B = s sign(W),  s = scale sqrt(2 / (fan_in + fan_out))        signs are read anew at every backward
    frsf   B = |M| sign(W),  M drawn once           brsf   the same, M drawn at every forward in training
    kp     B.grad += delta_y^T x                    what W.grad receives: under one SGD W - B shrinks as W decays
    wm     B.grad -= y^T xi / (S noise^2),  xi (S, n) ~ N(0, noise^2),  y = xi W^T             by ``mirror(samples=S)``

All the rest (norms, softmax, sums, pooling) keeps its exact derivative.  A weight that another module reads by itself,
as in F.linear(h, self.embedding.weight), cannot be seen and stays exact too.

References: Lillicrap, Cownden, Tweed and Akerman, Nature Communications 7, 2016 (fa); Liao, Leibo and Poggio, AAAI 2016
(usf, brsf); Moskovitz, Litwin-Kumar and Abbott, 2018 (frsf); Akrout et al., NeurIPS 2019 (kp, wm).
Deviations from the papers:
    1. wm mirrors the linear map without its bias, which is but noise to the mirror; the paper's y passes the
       nonlinearity too, but which one follows in a graph is unknown.
    2. wm's B tends to W / decay under SGD; it has a group of its own with decay 1, lr 0.1 and no momentum, so to W.
    3. B of the projections of an attention is drawn as torch holds their weights, (3E, E) where they are packed.
Easily confused with: altprop.FA, the same rule on an nn.Sequential without an autograd graph; direct feedback
alignment, which brings the error to every layer in one step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import ParametrizationList

from altprop.core import Refused, accumulate
from altprop.core.layer import NORMS
from altprop.graph.modules import ALIGNED, KINDS, AlignedModule, Matrices, Plan, aligned_class

Verdict = Literal["converted", "kept", "refused"]
Keep = Iterable[str | type[nn.Module]]
SLOT = "_altprop"  # of a module's __dict__: its Matrices, or the verdict on a module that has none
EXACT = (*NORMS, nn.Embedding, nn.EmbeddingBag)
REFUSED: dict[type, str] = {
    LazyModuleMixin: "its shape is not known yet: run the model once on an example first",
    ParametrizationList: "it computes a weight: call torch.nn.utils.parametrize.remove_parametrizations first",
    nn.RNNBase: "its recurrent products are out of reach: unroll it into nn.Linear",
    nn.RNNCellBase: "its products are out of reach: write it with nn.Linear",
    nn.Bilinear: "a product of two inputs has no feedback: write it with nn.Linear",
    _ConvTransposeNd: "it has no feedback: use nn.Upsample and a convolution",
}
UNKNOWN = "hold a weight in an nn.Linear or a convolution, and give a table that is added the shape (1, ...)"
GROUPS: dict[str, dict[str, float]] = {"kp": {}, "wm": {"lr": 0.1, "weight_decay": 1.0, "momentum": 0.0}}
"""Of an optimizer, by the rules that learn their feedback; what is not given is as for the model's parameters."""


class Judged(NamedTuple):
    """What ``align`` does with one module, and why not, where it is refused."""

    module: nn.Module
    verdict: Verdict
    why: str = ""


def align(
    model: nn.Module, rule: str = "fa", *, init: str = "he_uniform", scale: float = 1.0, seed: int = 0,
    noise: float = 0.1, strict: bool = True, keep: Keep = (),
) -> nn.Module:  # fmt: skip
    """Give every Linear, Conv1d, 2d, 3d and MultiheadAttention of the model a backward pass through feedback; in place.

    Outputs, class, parameters and state_dict of the model stay as they are; the feedback follows ``.to``, copies and
    pickles of the whole model.  rule: fa, usf, frsf, brsf, kp or wm.  init, scale, seed: how B is drawn; noise: of wm's
    mirror.  keep: paths, or classes, of modules whose own parameters are to keep their exact backward; of a container,
    everything in it.  Two modules that share a weight have a B each, so that with kp neither follows W exactly.
    Raises ``Refused`` with nothing changed for a module that is neither converted nor exact by definition (``report``
    names them), unless ``strict=False`` leaves its backward as it is."""
    if rule not in KINDS:
        raise Refused(f"unknown rule '{rule}' came; there are {', '.join(KINDS)}")
    if not noise > 0:
        raise Refused(f"noise {noise} came: give a standard deviation above 0")
    if any(SLOT in vars(module) for module in model.modules()):
        raise Refused("the model is aligned already: call altprop.restore(model) first")
    judged = _judge(model, [keep] if isinstance(keep, str | type) else list(keep))
    for path, (module, verdict, why) in judged.items():
        if strict and verdict == "refused":
            what = f"cannot align module '{path}' ({type(module).__name__}): {why}"
            raise Refused(f"{what}; or leave its backward exact with keep=['{path}']")
    places = [(j.module, name) for j in judged.values() if j.verdict == "converted" for name in _weights(j.module)]
    if not places:
        raise Refused("the model has no Linear, convolution or attention to align: use it as it is")
    plan = Plan(rule, init, scale, noise)
    drawn = list(plan.draw([module.get_parameter(name) for module, name in places], seed))
    for module, verdict, _ in judged.values():
        own: Any = type(module)
        held = {name: B for (owner, name), B in zip(places, drawn, strict=True) if owner is module}
        vars(module)[SLOT] = Matrices(plan, held) if held else verdict
        if held:
            module.__class__ = aligned_class(own)
    return model


def report(model: nn.Module) -> dict[str, Verdict]:
    """Of every module with parameters of its own, by path: "converted", "kept" (its backward is exact by definition, or
    by ``keep``) or "refused" (exact, but align would not say so).  Before ``align``: what it would do."""
    marks = {path: vars(module).get(SLOT) for path, module in model.named_modules()}
    judged = _judge(model, [])
    if not any(marks.values()):
        return {path: verdict for path, (_, verdict, _) in judged.items()}
    said: dict[str, Verdict] = {path: "converted" for path, mark in marks.items() if isinstance(mark, Matrices)}
    return {path: said.get(path) or marks[path] or "refused" for path in judged}  # a module may have come in since


def restore(model: nn.Module) -> nn.Module:
    """Undo ``align``, in place: every module is of its own class again, and its backward exact."""
    for module in model.modules():
        if isinstance(module, AlignedModule):
            module.__class__ = module.origin  # type: ignore[assignment]
        vars(module).pop(SLOT, None)
    return model


def feedback(model: nn.Module) -> GraphFeedback:
    """The feedback of an aligned model, shared with it.  Raises ``Refused`` for a model that is not aligned."""
    return GraphFeedback(model)


class GraphFeedback(nn.Module):
    """The matrices of an aligned model by the path of their module, or that and the name of the weight.

    Its tensors are those that the model's backward uses: load_state_dict, an optimizer on parameters() or an assignment
    change them there.  Learned ones (kp, wm) are parameters; model.zero_grad() does not reach them, its own does."""

    places: dict[str, tuple[Any, str]]  # name of a weight -> its module, and its name there

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.places = {}
        for path, module in model.named_modules():
            if isinstance(module, AlignedModule):
                node: nn.Module = self
                for part in filter(None, path.split(".")):
                    node = node._modules.setdefault(part, nn.Module())  # type: ignore[assignment]
                node._modules["feedback"] = module._altprop
                self.places |= {f"{path}.{name}".lstrip("."): (module, name) for name in module._altprop.names}
        if not self.places:
            raise Refused("the model is not aligned: call altprop.align(model) first")

    def keys(self) -> list[str]:
        """The names of the weights in whose place a matrix stands."""
        return list(self.places)

    def __getitem__(self, path: str) -> Tensor:
        module, name = self._place(path)
        return module._altprop.matrix(name, getattr(module, name))

    def __setitem__(self, path: str, matrix: Tensor) -> None:
        module, name = self._place(path)
        plan, held = module._altprop.plan, getattr(module._altprop, name)
        if plan.kind.signs:
            raise Refused(f"feedback of '{path}' came, but rule '{plan.rule}' computes it from the weight: use 'fa'")
        if matrix.shape != held.shape:
            raise Refused(f"feedback['{path}'] has shape {tuple(held.shape)}, but {tuple(matrix.shape)} came")
        with torch.no_grad():
            held.copy_(matrix)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """For an optimizer, beside the model's own: kp's matrices at the model's rate, wm's at the mirror's."""
        groups = []
        for rule, settings in GROUPS.items():
            parameters = [getattr(m._altprop, name) for m, name in self.places.values() if m._altprop.plan.rule == rule]
            if parameters:
                groups.append({"params": parameters, "lr": lr, **settings})
        return groups

    @torch.no_grad()
    def mirror(self, samples: int = 128) -> None:
        """wm: add -(y^T xi) / (samples noise^2), on the mean -W, to the ``.grad`` of every matrix.

        torch's global generator draws xi; a convolution sees patches as large as its kernel.  ``Refused`` for other
        rules."""
        mirrored = [place for place in self.places.values() if place[0]._altprop.plan.rule == "wm"]
        if not mirrored:
            raise Refused("mirror() came, but only rule 'wm' learns by it: call altprop.align(model, 'wm')")
        for module, name in mirrored:
            B, noise = getattr(module._altprop, name), module._altprop.plan.noise
            W = getattr(module, name).unflatten(0, (getattr(module, "groups", 1), -1)).flatten(2)  # (groups, m, n)
            xi = noise * torch.randn(samples, len(W), W.shape[2], dtype=W.dtype, device=W.device)
            y = torch.einsum("sgn,gmn->sgm", xi, W)
            if B.requires_grad:
                accumulate(B, torch.einsum("sgm,sgn->gmn", y, xi).view_as(B) / (-samples * noise**2))

    def _place(self, path: str) -> tuple[Any, str]:
        found = [key for key in self.places if path in (key, key.rpartition(".")[0])]
        if len(found) != 1:
            raise Refused(f"feedback['{path}'] came, but matrices stand at {', '.join(found or self.places)}")
        return self.places[found[0]]


def _judge(model: nn.Module, keep: list[str | type[nn.Module]]) -> dict[str, Judged]:
    """Every module that has parameters of its own, by path."""
    modules = dict(model.named_modules())
    for kept in keep:
        if not any(_is(kept, path, module) for path, module in modules.items()):
            raise Refused(f"keep names '{kept}', but no module of the model is it: give paths or classes of modules")
    # A container has nothing of its own to keep, so that everything in it is meant.
    whole = [f"{path}." for path, module in modules.items() if path and any(_is(kept, path, module) for kept in keep)
             and not list(module.parameters(recurse=False))]  # fmt: skip
    judged: dict[str, Judged] = {}
    inside: dict[nn.Module, Judged] = {}  # an attention reads the weight of its out_proj by itself, unless converted
    for path, module in modules.items():
        own = list(module.parameters(recurse=False))
        if own:
            exact = path.startswith(tuple(whole)) or any(_is(kept, path, module) for kept in keep)
            judged[path] = inside.get(module) or (Judged(module, "kept") if exact else _judge_own(module, own))
            if isinstance(module, nn.MultiheadAttention) and judged[path].verdict != "converted":
                inside[module.out_proj] = judged[path]._replace(module=module.out_proj)
    return judged


def _is(kept: str | type[nn.Module], path: str, module: nn.Module) -> bool:
    return path == kept if isinstance(kept, str) else isinstance(module, kept)


def _judge_own(module: nn.Module, own: list[nn.Parameter]) -> Judged:
    for refused, why in REFUSED.items():
        if isinstance(module, refused):
            return Judged(module, "refused", why)
    for kind in ALIGNED:
        if isinstance(module, kind):
            why = _obstacle(module, own)
            return Judged(module, "refused" if why else "converted", why)
    if isinstance(module, EXACT) or all(_elementwise(p) for p in own):
        return Judged(module, "kept")
    name, weight = next((n, p) for n, p in module.named_parameters(recurse=False) if not _elementwise(p))
    what = f"how it uses its parameter '{name}' of shape {tuple(weight.shape)} is unknown"
    return Judged(module, "refused", f"{what}: {UNKNOWN}")


def _obstacle(module: nn.Module, own: list[nn.Parameter]) -> str:
    """What keeps a Linear, convolution or attention from being converted; nothing, mostly."""
    if "forward" in vars(module) or any(
        name in vars(kind) for kind in type(module).__mro__ for name in ("forward", "_conv_forward")
        if not kind.__module__.startswith("torch.nn.modules")
    ):  # fmt: skip
        return "its forward is not torch's: call an nn.Linear, a convolution or an attention in it instead"
    if not _weights(module):
        return "its weight is computed by something else (weight_norm, spectral_norm, pruning): remove that first"
    if getattr(module, "bias_k", None) is not None or getattr(module, "add_zero_attn", False):
        return "add_bias_kv and add_zero_attn have no feedback: build it without them"
    return "" if all(p.is_floating_point() for p in own) else "its parameters are not real numbers: use real ones"


def _weights(module: nn.Module) -> list[str]:
    kind = next(aligned for base, aligned in ALIGNED.items() if isinstance(module, base))
    return [name for name in kind.weights if module._parameters.get(name) is not None]


def _elementwise(parameter: nn.Parameter) -> bool:
    """Whether its shape is that of something added or multiplied: (n,), (1, ...), or (n, 1, 1)."""
    shape = parameter.shape
    return len(shape) <= 1 or shape[0] == 1 or (len(shape) == 3 and parameter.numel() == shape[0])
