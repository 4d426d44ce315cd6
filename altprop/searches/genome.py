"""What the vector of a search stands for: itself, or the parameters of a net; one or P of them at a time."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from altprop.core import Population, Refused
from altprop.limits import memory, shorten, shown

ROOM = 2**25  # bytes of activity that a chunk of nets may hold at a time: more is no faster


class Genome(ABC):
    """``start`` (n,) is the vector that a search begins from."""

    start: Tensor

    @abstractmethod
    def population(self, genomes: Tensor) -> Population:
        """genomes (P, n) -> P individuals as one callable, which keeps them as ``genomes``."""

    @abstractmethod
    def individual(self, genome: Tensor) -> Any:
        """genome (n,) -> what the user began with, a vector or a net, as this one."""


class VectorGenome(Genome):
    """A vector (n,) of numbers or of bits."""

    def __init__(self, start: Tensor) -> None:
        if start.dim() != 1 or not len(start) or not (start.is_floating_point() or start.dtype == torch.bool):
            came = f"a start of {start.dtype} and shape {tuple(start.shape)} came"
            raise Refused(f"{came}: give a vector (n,) of floats, or of bool for bits")
        self.start = start.detach().clone()

    def population(self, genomes: Tensor) -> Points:
        return Points(genomes)

    def individual(self, genome: Tensor) -> Tensor:
        return genome.clone()


class Points:
    """P vectors, ``genomes`` (P, n), each of which answers itself whatever it is asked; bits as 0. and 1."""

    def __init__(self, genomes: Tensor) -> None:
        self.genomes = genomes

    def __len__(self) -> int:
        return len(self.genomes)

    def __call__(self, x: Tensor) -> Tensor:
        """x (N, k) for all, or (P, N, k) for each its own -> (P, N, n)."""
        answers = self.genomes if self.genomes.is_floating_point() else self.genomes.to(torch.get_default_dtype())
        return answers[:, None].expand(-1, x.shape[-2], -1)

    def reset(self) -> None:
        """A vector has no states."""

    def part(self, rows: slice) -> Points:
        """Some of them, as a population of their own."""
        return Points(self.genomes[rows])


class NetGenome(Genome):
    """The parameters of a net that ask for a gradient, as one vector.  The net of the user is copied, never changed;
    the copies run in eval mode, so that batch norms and dropout stand still, and share the buffers."""

    def __init__(self, net: nn.Module, example: Tensor | None) -> None:
        if example is None or not isinstance(example, Tensor) or not len(example):
            raise Refused(
                f"example={shown(example)} came beside a net: give example=x[:1], an input as it will get them"
            )
        self.net, self.example = copy.deepcopy(net).eval(), example[:1].detach()
        learned = {name: p.detach() for name, p in self.net.named_parameters() if p.requires_grad}
        kinds = {(p.dtype, p.device) for p in learned.values()}
        if len(kinds) != 1 or not next(iter(learned.values())).is_floating_point():
            came = f"parameters of {sorted(str(dtype) for dtype, _ in kinds) or 'no'} kind came"
            raise Refused(f"{came}: give a net whose parameters to be searched are floats of one kind on one device")
        self.shapes = {name: p.shape for name, p in learned.items()}
        self.start = torch.cat([p.flatten() for p in learned.values()])
        try:
            with torch.no_grad(), _Largest() as seen:
                self.net(self.example)
            self.activity = 2 * seen.size  # bytes a sample: an operation's input and its output
            self.population(self.start.expand(2, -1))(self.example)
        except Exception as error:  # whatever the net may raise
            said = shorten(f"{type(error).__name__}: {error}", 120)
            raise Refused(
                f"the net cannot run as a population ({said}): give one that torch.func.vmap takes"
            ) from error

    def population(self, genomes: Tensor) -> Nets:
        return Nets(self, genomes)

    def individual(self, genome: Tensor) -> nn.Module:
        net = copy.deepcopy(self.net)
        net.load_state_dict({name: piece for name, piece in self.pieces(genome)}, strict=False)
        return net

    def pieces(self, genomes: Tensor) -> Iterator[tuple[str, Tensor]]:
        """genomes (*, n) -> each parameter by its name, (*, *shape): views, no copies."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        for (name, shape), piece in zip(self.shapes.items(), genomes.split(sizes, -1), strict=True):
            yield name, piece.reshape(*genomes.shape[:-1], *shape)


class Nets:
    """P nets of one form, whose parameters are the rows of ``genomes`` (P, n)."""

    def __init__(self, genome: NetGenome, genomes: Tensor) -> None:
        self.genome, self.genomes = genome, genomes

    def __len__(self) -> int:
        return len(self.genomes)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """x (N, *in) for all, or (P, N, *in) for each its own -> (P, N, C); no more nets at a time than fit memory."""
        x = x.to(self.genomes) if x.is_floating_point() else x.to(self.genomes.device)
        usual = self.genome.example.dim()
        each = x.dim() == usual + 1
        if not (x.dim() == usual or (each and len(x) == len(self))):
            shape = tuple(self.genome.example.shape[1:])
            what = f"inputs of shape {tuple(x.shape)} came to {len(self)} nets"
            raise Refused(f"{what}: give (N, *in) for all or (P, N, *in) for each its own, *in = {shape}")
        run = vmap(partial(functional_call, self.genome.net), in_dims=(0, 0 if each else None),
                   chunk_size=self.chunk(x.shape[int(each)]))  # fmt: skip
        return run(dict(self.genome.pieces(self.genomes)), (x,))

    def chunk(self, samples: int) -> int:
        """How many nets run at a time on that many samples each."""
        room = min(ROOM, memory() // 8)
        return max(1, min(len(self), room // max(1, self.genome.activity * samples)))

    def reset(self) -> None:
        """Such nets have no states."""

    def part(self, rows: slice) -> Nets:
        """Some of them, as a population of their own."""
        return Nets(self.genome, self.genomes[rows])


class _Largest(TorchDispatchMode):
    """The bytes of the largest tensor that any operation makes."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = result if isinstance(result, (tuple, list)) else (result,)
        for one, told in zip(made, func._schema.returns, strict=False):
            if isinstance(one, Tensor) and told.alias_info is None:  # no view: those of weights are not an activity
                self.size = max(self.size, one.numel() * one.element_size())
        return result


def genome_of(start: Any, example: Tensor | None) -> Genome:
    """The genome of what a search was given.  Raises ``Refused`` for what is neither a vector nor a net."""
    if isinstance(start, nn.Module):
        return NetGenome(start, example)
    if not isinstance(start, Tensor):
        raise Refused(f"{shown(start)} came to begin from: give a tensor (n,) or an nn.Module")
    return VectorGenome(start)
