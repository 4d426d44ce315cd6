"""The modules of an aligned graph: a Linear, a convolution and an attention whose signal goes up through the weight W
and comes down through feedback B.

    y = x W^T + b      delta_x = delta_y B,  W.grad += delta_y^T x,  b.grad += sum delta_y
    attention          softmax(q k^T / sqrt(d) + mask) v  between projections of that kind, itself exact

Each is a class put before the module's own (``aligned_class``), so that type checks, methods and ``super`` still find
that; the feedback stands in the module's ``__dict__``, where neither parameters() nor state_dict() sees it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from altprop.core import INITIALISERS, Refused, draw_feedback
from altprop.core.local import CONVOLUTIONS
from altprop.core.product import linear, outer

Mask = tuple[bool, bool, bool]


class Kind(NamedTuple):
    """Where a rule's feedback comes from."""

    signs: bool = False  # B has the signs of W, and what is held is its magnitude:
    uniform: bool = False  # one number,
    redrawn: bool = False  # or drawn at every forward in training
    learned: bool = False  # B is a parameter
    twin: bool = False  # that receives what W receives


KINDS = {
    "fa": Kind(),
    "usf": Kind(signs=True, uniform=True),
    "frsf": Kind(signs=True),
    "brsf": Kind(signs=True, redrawn=True),
    "kp": Kind(learned=True, twin=True),
    "wm": Kind(learned=True),
}


@dataclass(frozen=True)
class Plan:
    """A rule and how its matrices are drawn."""

    rule: str
    init: str
    scale: float
    noise: float

    @property
    def kind(self) -> Kind:
        return KINDS[self.rule]

    def draw(self, weights: list[nn.Parameter], seed: int) -> Iterator[Tensor]:
        """What is held for each weight, in its dtype, layout and place."""
        if self.kind.uniform:
            for weight in weights:
                outputs, inputs, *kernel = weight.shape
                s = self.scale * math.sqrt(2 / (math.prod(kernel) * (outputs + inputs)))
                yield torch.tensor(s, dtype=weight.dtype, device=weight.device)
            return
        shapes = [tuple(weight.shape) for weight in weights]
        drawn = draw_feedback(shapes, init=self.init, scale=self.scale, seed=seed, like=weights[0])
        for weight, matrix in zip(weights, drawn, strict=True):
            held = torch.empty_like(weight, requires_grad=False).copy_(matrix)
            yield held.abs_() if self.kind.signs else held


class Matrices(nn.Module):
    """The feedback of one module: a tensor for each of its weights, under the weight's name."""

    def __init__(self, plan: Plan, held: dict[str, Tensor]) -> None:
        super().__init__()
        self.plan = plan
        for name, tensor in held.items():
            if plan.kind.learned:
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)

    @property
    def names(self) -> list[str]:
        return [*self._parameters, *self._buffers]

    def held(self, name: str, weight: Tensor, training: bool = False) -> Tensor:
        """Of the weight's shape: B, or the magnitude that the signs of W are still to meet."""
        if training and self.plan.kind.redrawn:
            with torch.no_grad():  # into a new tensor: an earlier forward may still wait for its backward
                drawn = INITIALISERS[self.plan.init](torch.empty_like(weight))
                self._buffers[name] = drawn.mul_(self.plan.scale).abs_()
        tensor = getattr(self, name)
        learns = self.plan.kind.twin and weight.requires_grad
        return (tensor if learns else tensor.detach()).expand_as(weight)

    def matrix(self, name: str, weight: Tensor) -> Tensor:
        """B as it stands now."""
        held = self.held(name, weight).detach()
        return held * weight.detach().sign() if self.plan.kind.signs else held


class _Synapse(torch.autograd.Function):
    """Up through W, down through B.  geometry: (stride, padding, dilation, groups), or None for a dense layer."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, held: Tensor, signs: bool, geometry: Any) -> Tensor:
        if geometry is None:
            return F.linear(x, weight, bias)
        return CONVOLUTIONS[weight.dim()](x, weight, bias, *geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        x, weight, _, held, ctx.signs, ctx.geometry = inputs
        ctx.save_for_backward(x, weight, held)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> Any:
        x, weight, held = (tensor.to(signal.dtype) for tensor in ctx.saved_tensors)  # autocast may have parted them
        down, of_weight, of_bias, twin = ctx.needs_input_grad[:4]
        at_x = at_weight = at_bias = None
        if down:
            B = held * weight.sign() if ctx.signs else held
            at_x, _, _ = _products(signal, x, B, ctx.geometry, (True, False, False))
        if of_weight or of_bias:
            _, at_weight, at_bias = _products(signal, x, weight, ctx.geometry, (False, of_weight, of_bias))
        return at_x, at_weight, at_bias, at_weight if twin else None, None, None


def _products(signal: Tensor, x: Tensor, weight: Tensor, geometry: Any, mask: Mask) -> Any:
    """(at the input, at the weight, at the bias), those that ``mask`` asks for."""
    if geometry is not None:
        stride, padding, dilation, groups = geometry
        rest = (stride, padding, dilation, False, [0] * len(stride), groups)
        return torch.ops.aten.convolution_backward(signal, x, weight, [weight.shape[0]], *rest, mask)
    return (
        linear(signal, weight.T) if mask[0] else None,
        outer(signal, x) if mask[1] else None,
        signal.sum(0) if mask[2] else None,
    )


class AlignedModule:
    """What stands before the own class of an aligned module."""

    origin: ClassVar[type[nn.Module]]
    weights: ClassVar[tuple[str, ...]] = ("weight",)
    _altprop: Matrices

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        super()._apply(fn, recurse)  # type: ignore[misc]
        self._altprop._apply(fn)
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _revive, (self.origin,), *super().__reduce_ex__(protocol)[2:]

    def _dense(self, x: Tensor, weight: Tensor, bias: Tensor | None, held: Tensor) -> Tensor:
        rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
        y = _Synapse.apply(rows, weight, bias, held, self._altprop.plan.kind.signs, None)
        return y if x.dim() == 2 else y.view(*x.shape[:-1], weight.shape[0])


class _Linear(AlignedModule):
    def forward(self: Any, x: Tensor) -> Tensor:
        return self._dense(x, self.weight, self.bias, self._altprop.held("weight", self.weight, self.training))


class _Convolution(AlignedModule):
    def forward(self: Any, x: Tensor) -> Tensor:
        around = self._reversed_padding_repeated_twice
        if self.padding_mode == "zeros" and around[::2] == around[1::2]:
            padding = around[::-2]
        else:  # what a convolution cannot pad by itself: reflected, circular, uneven
            padding = [0] * len(self.stride)
            x = F.pad(x, around, "constant" if self.padding_mode == "zeros" else self.padding_mode)
        held = self._altprop.held("weight", self.weight, self.training)
        batch = x if x.dim() == self.weight.dim() else x.unsqueeze(0)
        geometry = (self.stride, padding, self.dilation, self.groups)
        y = _Synapse.apply(batch, self.weight, self.bias, held, self._altprop.plan.kind.signs, geometry)
        return y if x.dim() == self.weight.dim() else y.squeeze(0)


class _Attention(AlignedModule):
    weights = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")

    def forward(
        self: Any, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        if is_causal and attn_mask is None:
            raise Refused("is_causal=True came without attn_mask: give the mask as well, as torch asks for it")
        causal = is_causal and key_padding_mask is None and not need_weights
        mask = _merge(None if causal else attn_mask, key_padding_mask, self.num_heads, query)
        batched, turned = query.dim() == 3, query.dim() == 3 and not self.batch_first
        x = [each.transpose(0, 1) if turned else each if batched else each[None] for each in (query, key, value)]
        q, k, v = self._project(x, one=query is key and key is value)
        out, weights = _attend(q, k, v, mask, self.num_heads, self.dropout * self.training, causal, need_weights)
        out = self.out_proj(out)
        if weights is not None:
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights[0]
        return out if turned else out.transpose(0, 1) if batched else out[:, 0], weights

    def _project(self: Any, x: list[Tensor], one: bool) -> list[Tensor]:
        """q, k, v (N, L or S, E), in one product where they come from one tensor."""
        names = self._altprop.names
        weights = [getattr(self, name) for name in names]
        held = [self._altprop.held(*pair, self.training) for pair in zip(names, weights, strict=True)]
        bias = self.in_proj_bias
        if one and len(weights) == 1:
            return list(self._dense(x[0], weights[0], bias, held[0]).chunk(3, -1))
        biases = [None] * 3 if bias is None else bias.chunk(3)
        weights, held = (each[0].chunk(3) if len(each) == 1 else each for each in (weights, held))
        return [self._dense(*each) for each in zip(x, weights, biases, held, strict=True)]


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, heads: int, dropout: float, causal: bool, explicit: bool
) -> tuple[Tensor, Tensor | None]:
    """q (N, L, E), k and v (N, S, E) -> (L, N, E) and, where the softmax is explicit, its weights (N, heads, L, S).

    Length first as in torch, whichever way the input lies: a dropout that follows draws in the order of memory."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # (N, heads, L or S, d)
    if mask is not None and mask.shape[-2:] not in ((q.shape[2], k.shape[2]), (1, k.shape[2])):
        raise Refused(f"a mask of shape {tuple(mask.shape)} came for {q.shape[2]} queries and {k.shape[2]} keys")
    if not explicit:
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal).permute(2, 0, 1, 3).flatten(2), None
    scores = q * math.sqrt(1 / q.shape[-1]) @ k.transpose(-2, -1)  # (N, heads, L, S)
    weights = (scores if mask is None else scores + mask).softmax(-1)
    weights = F.dropout(weights, dropout) if dropout else weights
    return (weights @ v).permute(2, 0, 1, 3).flatten(2), weights


def _merge(attn_mask: Tensor | None, key_padding_mask: Tensor | None, heads: int, like: Tensor) -> Tensor | None:
    """(L, S) or (N * heads, L, S), and (N, S) or (S,), True or minus infinity where closed -> to (N, heads, L, S)."""
    total = None
    if attn_mask is not None:
        total = _additive(attn_mask, like)
        total = total.unflatten(0, (-1, heads)) if total.dim() == 3 else total
    if key_padding_mask is not None:
        padding = _additive(key_padding_mask, like).view(-1, 1, 1, key_padding_mask.shape[-1])  # (N, 1, 1, S)
        total = padding if total is None else total + padding
    return total


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, -math.inf)


ALIGNED: dict[type[nn.Module], type[AlignedModule]] = {
    nn.Linear: _Linear,
    _ConvNd: _Convolution,
    nn.MultiheadAttention: _Attention,
}


@cache
def aligned_class(origin: type) -> Any:
    """The aligned class of a module's own; one each, so that a pickle that names the own class finds it again."""
    base = next(aligned for kind, aligned in ALIGNED.items() if issubclass(origin, kind))
    return type(f"Aligned{origin.__name__}", (base, origin), {"origin": origin})


def _revive(origin: Any) -> nn.Module:
    return object.__new__(aligned_class(origin))
