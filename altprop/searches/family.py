"""What all searches over vectors share: whose turn it is, who was the best, what failed, and how it is resumed."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from altprop.core import Population, Refused, RuleWarning, Search, SearchClaims
from altprop.limits import gigabytes, memory, shorten, shown
from altprop.searches.draws import generator_of, normal, uniform
from altprop.searches.genome import genome_of
from altprop.searches.ground import Ground

NOBODY = "tell(fitness) came, but nobody was asked for: call ask() before each tell()"


class VectorSearch(Search[Any]):
    """The family.  start: a vector (n,), or a net (with example=x[:1]) whose parameters are searched; seed: of all that
    is drawn.  Larger fitness is better.

    A fitness that is NaN or infinite makes its candidate the worst of its generation: it is counted in ``failed``, told
    by one ``RuleWarning`` when it first happens, and ends nothing.

    Raises ``Refused`` for a start that is neither, for bits where numbers are searched, and for a population larger
    than memory."""

    claims = SearchClaims(genome="vector")
    reference: ClassVar[str]  # BibTeX key
    remembers: ClassVar[tuple[str, ...]]  # tensors of its own that the next ask depends on
    bits: ClassVar[bool] = False  # whether a vector of bool may be searched

    def __init__(
        self, start: Tensor | nn.Module, *, size: int | Callable[[int], int], seed: int = 0,
        example: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.genome = genome_of(start, example)
        self.start, self.generator = self.genome.start, generator_of(seed)
        size = self.size = size(len(self.start)) if callable(size) else size  # P, perhaps by n
        kind = type(self).__name__
        if not self.start.is_floating_point() and not self.bits:
            raise Refused(f"{kind} was given bits: it searches numbers; give floats, or take the search 'ga'")
        if size < 2:
            raise Refused(f"{kind} was given a population of {size}: give 2 or more")
        needed = 4 * size * self.start.numel() * self.start.element_size()
        if needed > memory():
            what = f"a population of {size} vectors of {len(self.start)} takes {gigabytes(needed)}"
            raise Refused(f"{what}, more than the {gigabytes(memory())} of memory: make it or the net smaller")
        self.generation = self.evaluations = self.failed = 0
        self.reached, self.champion = -torch.inf, self.start  # the best so far
        self.asked: Tensor | None = None

    @classmethod
    def on(cls, ground: Ground, **arguments: Any) -> VectorSearch:
        """One for a task: from its vector or its net."""
        return cls(ground.start, example=ground.example, seed=ground.seed, **arguments)  # type: ignore[arg-type]

    @abstractmethod
    def propose(self) -> Tensor:
        """The candidates (P, n) of the next generation."""

    @abstractmethod
    def learn(self, x: Tensor, heights: Tensor) -> None:
        """x (P, n) were asked for, and heights (P,) are their fitness, in float64 on the CPU, -inf where it failed."""

    @torch.no_grad()
    def ask(self) -> Population:
        """The individuals whose fitness is wanted next, their vectors as its ``genomes`` (P, n); the same ones until
        ``tell`` is called."""
        if self.asked is None:
            self.asked = self.propose()
        return self.genome.population(self.asked.to(self.start))

    @torch.no_grad()
    def tell(self, fitness: Tensor | Sequence[float]) -> None:
        """fitness (P,) of those that were asked for, in their order; larger is better, nan for one that failed.

        Raises ``Refused`` for another number of them, and before ``ask``."""
        if self.asked is None:
            raise Refused(NOBODY)
        told = fitness_told(fitness, len(self.asked))
        heights = torch.where(told.isfinite(), told, -torch.inf)
        self.failed += failures(told, self.failed, self.generation + 1)
        best = int(heights.argmax())
        if heights[best] > self.reached:
            self.reached, self.champion = float(heights[best]), self.asked[best].to(self.start, copy=True)
        self.generation, self.evaluations = self.generation + 1, self.evaluations + len(heights)
        self.learn(self.asked, heights)
        self.asked = None

    def best(self) -> Any:
        """The fittest individual so far: a vector (n,), or a net of its own in eval mode; before any, the start."""
        return self.individual(self.champion)

    def candidate(self, row: int) -> Tensor:
        """The vector of one of those that were asked for last and not told of yet."""
        assert self.asked is not None
        return self.asked[row].to(self.start, copy=True)

    def individual(self, candidate: Tensor) -> Any:
        """A vector as the user gets it: itself, or a net of its own."""
        return self.genome.individual(candidate)

    def state_dict(self) -> dict[str, Tensor]:
        """All that the next ``ask`` depends on, and who was the best; tensors, none of which changes later."""
        counts = torch.tensor([self.generation, self.evaluations, self.failed])
        own = {name: getattr(self, name) for name in self.remembers}
        asked = {} if self.asked is None else {"asked": self.asked}
        best = {"champion": self.champion, "reached": torch.tensor(self.reached, dtype=torch.float64)}
        return {**own, **asked, **best, "counts": counts, "random": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there, to the bit.  Raises ``Refused`` for the state of another search or another start."""
        wanted = {*self.remembers, "champion", "reached", "counts", "random"}
        if set(state) - {"asked"} != wanted:
            what = shorten(", ".join(sorted(set(state) ^ wanted - {"asked"})), 100)
            raise Refused(
                f"the state of another search came, which differs in {what}: give one of {type(self).__name__}"
            )
        if state["champion"].shape != self.start.shape:
            what = f"a state of vectors of {len(state['champion'])} came to a search of {len(self.start)}"
            raise Refused(f"{what}: begin from the same vector or net")
        for name in self.remembers:
            setattr(self, name, state[name].to(getattr(self, name).device, copy=True))
        self.champion, self.reached = state["champion"].to(self.start, copy=True), float(state["reached"])
        self.asked = state["asked"].clone() if "asked" in state else None
        self.generation, self.evaluations, self.failed = (int(count) for count in state["counts"])
        self.generator.set_state(state["random"].cpu())

    def scatter(self, sigma: float) -> Tensor:
        """The first generation (P, n): the start itself, and others around it; of bits, others at random."""
        if self.start.dtype == torch.bool:
            first = (uniform((self.size, len(self.start)), self.generator) < 0.5).to(self.start.device)
        else:
            first = self.start + sigma * normal((self.size, len(self.start)), self.start, self.generator)
        first[0] = self.start
        return first


def fitness_told(fitness: Tensor | Sequence[float], asked: int) -> Tensor:
    """What was told of so many individuals, (P,), in float64 on the CPU.

    Raises ``Refused`` for another number of them, and for what is no number."""
    try:
        told = torch.as_tensor(fitness).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"fitness {shown(fitness)} came, which are no numbers"
        raise Refused(f"{what}: give a tensor or a list of floats, nan for what failed") from error
    if told.shape != (asked,):
        what = f"fitness of shape {tuple(told.shape)} came for {asked} individuals"
        raise Refused(f"{what}: give one number each, ({asked},)")
    return told


def failures(told: Tensor, before: int, generation: int) -> int:
    """How many fitnesses are no finite numbers; the first that are is told, where ``tell`` was called."""
    failed = int((~told.isfinite()).sum())
    if failed and not before:
        what = f"{failed} of {len(told)} fitnesses in generation {generation} are NaN or infinite"
        said = f"{what}: they count as the worst, here and from now on (.failed says how many); look at the fitness"
        warnings.warn(said, RuleWarning, stacklevel=4)  # failures, tell, no_grad
    return failed


def positive(**numbers: float) -> None:
    """Raises ``Refused`` for the first of these that is not a finite number above 0."""
    for name, value in numbers.items():
        if not 0 < value < torch.inf:
            raise Refused(f"{name}={shown(value)} came: give a number above 0")


def probable(**numbers: float) -> None:
    """Raises ``Refused`` for the first of these that is no probability."""
    for name, value in numbers.items():
        if not 0 <= value <= 1:
            raise Refused(f"{name}={shown(value)} came: give a probability, from 0 to 1")
