"""Evolve a body together with its muscles so that it moves, in a world with weight, friction and a floor.

    f = |way of the centre of mass in 10 s, on the floor| / length of the body at rest  -  price * work / (m g length)

An individual is a vector of ``len(GENES)`` numbers: any search over vectors evolves it.  The muscles follow a clock and
feel nothing.  Fitness is what is asked for, not what is meant: a tall tower that falls over has moved, and muscles that
jitter with the simulator's steps slide on its errors.  ``SHAPINGS`` has the measure that withstands both, the default,
and those that do not; what the winners did is told beside the score.

References: Sims, Evolving virtual creatures, SIGGRAPH 1994; Lehman et al., The surprising creativity of digital
    evolution, arXiv 1803.03453, 2018 (both ways to cheat); Todorov, Erez and Tassa, MuJoCo, IROS 2012.
Deviations from Sims:
    1. A vector of numbers in place of a graph that grows: three limbs or pairs of limbs of two segments at most.
    2. Sinusoids in place of neurons and sensors; capsules in place of boxes; hinges are the only joints.
    3. Segments touch the floor and not one another.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import inf, nan
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from altprop.core import Population
from altprop.limits import Refused, nearest, shown
from altprop.tasks.creatures.body import GENES, Body, Vector, decode
from altprop.tasks.creatures.film import film
from altprop.tasks.creatures.shaping import SHAPINGS, distance, lengths
from altprop.tasks.creatures.simulation import TOUCH, Course, engine, longest, simulate
from altprop.tasks.task import Task

LOOKED = 0.04  # s between the looks by which a creature is told
GRAVITY = 9.81


class Creature(Task):
    """Move far by a body that evolves with its muscles (Sims 1994), simulated by MuJoCo: 5 lengths of it are asked for.

    shaping: ``honest``, or ``falling`` or ``vibrating``, which can be cheated; seconds: that it may move; step: of the
    simulator, in s; threads: that simulate a generation.  A simulation that breaks has no fitness, nan.
    Raises ``Refused`` for another shaping, for no time, and where MuJoCo is missing."""

    inputs, outputs = (1,), len(GENES)
    reference = "sims1994"

    def __init__(
        self, shaping: str = "honest", seconds: float = 10.0, step: float = 0.01, threads: int = 1,
    ) -> None:  # fmt: skip
        engine()
        if shaping not in SHAPINGS:
            raise Refused(f"shaping={shown(shaping)} came{nearest(str(shaping), SHAPINGS)}")
        if not (0 < step <= 0.05 and step <= seconds < inf and threads >= 1):
            came = f"seconds={shown(seconds)}, step={shown(step)}, threads={shown(threads)} came"
            raise Refused(f"{came}: give a step of at most .05 s, more seconds than that, and 1 thread or more")
        self.shaping, self.seconds, self.step, self.threads = SHAPINGS[shaping], seconds, step, threads
        self.solved = 5.0 if shaping == "honest" else inf

    def origin(self, generator: torch.Generator) -> Tensor:
        """All genes in the middle of their range: no limbs yet."""
        return torch.zeros(len(GENES))

    def fitness(self, population: Population, generator: torch.Generator | None = None) -> Tensor:
        """(P,); nothing is drawn.  Raises ``Refused`` for answers that are not one number a gene."""
        genomes = self._genomes(population)
        with ThreadPoolExecutor(self.threads) as pool:
            return torch.tensor([*pool.map(self.value, genomes)], dtype=torch.float64)

    def value(self, genome: Vector) -> float:
        """Of one genome (n,)."""
        steps = (self.step, self.step / 2) if self.shaping.halved else (self.step,)
        return min((self._worth(self.course(genome, step)) for step in steps), key=lambda f: (f == f, f))

    def course(self, genome: Vector, step: float | None = None) -> Course:
        """What a genome (n,) does, by steps of that many seconds."""
        return simulate(self.body(genome), step or self.step, self.shaping.settle, self.seconds)

    def body(self, genome: Vector) -> Body:
        """The body that a genome (n,) says."""
        return decode(genome, self.shaping.bound(self.step))

    def told(self, individual: Population) -> dict[str, float]:
        """What it did: its way, heights, parts, touch, work and speed, and its lengths at half the step."""
        genome = self._genomes(individual)[0]
        course, body = self.course(genome), self.body(genome)
        if not course.sound:
            return {"segments": len(body.segments)}
        finer = self.course(genome, self.step / 2)
        looks = [course.at(row) for row in range(0, len(course.states), max(1, round(LOOKED / course.step)))]
        touches = [bool((ends[:, :, 2] - radii).min() < TOUCH) for ends, radii in looks]
        speed = np.linalg.norm(np.diff(course.centres[course.settled :], axis=0), axis=1) / course.step
        return {
            "distance": distance(course), "body_lengths": lengths(course),
            "body_lengths_at_half_the_step": lengths(finer) if finer.sound else 0.0,
            "body_length": longest(*course.at(course.settled)), "height_at_start": body.height(),
            "mean_height": float(course.centres[:, 2].mean()), "segments": len(body.segments),
            "contact": sum(touches) / len(touches), "work": course.work, "frequency": body.frequency,
            "top_speed": float(speed.max(initial=0)),
        }  # fmt: skip

    def film(self, individual: Population, path: Path) -> None:
        """Its course as a GIF."""
        course = self.course(self._genomes(individual)[0])
        if course.sound:
            film(course, path)

    def _worth(self, course: Course) -> float:
        if not course.sound:
            return nan
        mass = float(course.model.body_mass.sum())
        lifted = mass * GRAVITY * longest(*course.at(course.settled))
        return self.shaping.measure(course) - self.shaping.price * course.work / lifted

    def _genomes(self, population: Population) -> Vector:
        population.reset()
        genomes = population(torch.ones(1, *self.inputs))[:, 0]  # (P, n)
        if genomes.shape[1:] != (len(GENES),):
            what = f"a creature of {len(GENES)} genes was answered by {tuple(genomes.shape[1:])}"
            raise Refused(f"{what}: give a search over vectors ({len(GENES)},)")
        return genomes.detach().to("cpu", torch.float64).numpy()
