"""The genotype: a vector of numbers, any of which is allowed, and the body and the muscles that it says.

A torso and up to three limbs or pairs of limbs, of one or two segments each; all segments are capsules.  Genes g are
squashed into the ranges below by low + (high - low) (1 + tanh g) / 2, so that no vector is outside; a gene that decides
is a yes above 0.  Of a pair the left is the right one's mirror image, in step with it or opposite to it.

    the muscle of a joint wants the angle   c + a sin(2 pi f t + p),     f of the whole body, c, a and p of the joint

The order of the genes is that of ``GENES``: those of the torso, then of each limb, and in it of both segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, pi, sin
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

LIMBS, PARTS = 3, 2  # limbs or pairs of limbs; segments of each
TORSO = ("length", "radius", "pitch", "frequency")
LIMB = ("there", "pair", "place", "elevation", "azimuth", "opposite", "second", "bend")
PART = ("length", "radius", "axis_x", "axis_y", "axis_z", "reach", "amplitude", "phase", "centre")
GENES = (
    *(f"torso_{name}" for name in TORSO),
    *(f"limb{limb}_{name}" for limb in range(LIMBS) for name in
      (*LIMB, *(f"part{part}_{name}" for part in range(PARTS) for name in PART))),
)  # fmt: skip
RANGES = {  # in m, radians and shares
    "torso_length": (0.1, 1.0), "torso_radius": (0.03, 0.12), "torso_pitch": (0.0, pi / 2), "length": (0.06, 0.5),
    "radius": (0.02, 0.06), "elevation": (-pi / 2, pi / 2), "azimuth": (-pi / 2, pi / 2), "bend": (-pi / 2, pi / 2),
    "place": (-1.0, 1.0), "reach": (0.2, 1.2), "amplitude": (0.0, 1.0), "centre": (-0.5, 0.5),
}  # fmt: skip
SLOWEST = 0.3  # Hz


class Segment(NamedTuple):
    """A capsule from start to end, (3,) in m, in the pose without muscles, from the middle of the torso.  It turns
    against the segment ``parent`` about ``axis`` (3,) through its start, by at most ``reach`` to both sides."""

    parent: int  # -1 of the torso, which is free
    start: Vector
    end: Vector
    radius: float
    axis: Vector
    reach: float = 0.0
    amplitude: float = 0.0
    phase: float = 0.0
    centre: float = 0.0

    @property
    def length(self) -> float:
        """Of the axis, without the round ends."""
        return float(np.linalg.norm(self.end - self.start))


class Body(NamedTuple):
    """Segments, the torso first and parents before what hangs on them, and the clock of the muscles in Hz."""

    segments: tuple[Segment, ...]
    frequency: float

    def angles(self, t: Vector) -> Vector:
        """t (T,) -> what the muscles want (T, J)."""
        joints = self.segments[1:]
        a, p, c = (np.array([getattr(j, name) for j in joints]) for name in ("amplitude", "phase", "centre"))
        return c + a * np.sin(2 * pi * self.frequency * t[:, None] + p)

    def lowest(self) -> float:
        """How far below the middle of the torso it reaches."""
        return float(min(min(s.start[2], s.end[2]) - s.radius for s in self.segments))

    def height(self) -> float:
        """From its lowest to its highest point, without muscles."""
        return float(max(max(s.start[2], s.end[2]) + s.radius for s in self.segments)) - self.lowest()


def decode(vector: Vector, fastest: float) -> Body:
    """vector (n,) -> the body that it says, whose muscles are at most ``fastest``, in Hz."""
    genes = dict(zip(GENES, vector.tolist(), strict=True))
    length, pitch = within(genes, "torso_length"), within(genes, "torso_pitch")
    half = length / 2 * np.array([cos(pitch), 0, sin(pitch)])
    segments = [Segment(-1, -half, half, within(genes, "torso_radius"), np.zeros(3))]
    for limb in range(LIMBS):
        own = {name.partition("_")[2]: value for name, value in genes.items() if name.startswith(f"limb{limb}_")}
        if own["there"] > 0:
            right = [*_limb(own, segments[0], len(segments))]
            segments += right
            segments += [_mirrored(one, len(right), own["opposite"] > 0) for one in right if own["pair"] > 0]
    share = squashed(genes["torso_frequency"])
    return Body(tuple(segments), SLOWEST * (fastest / SLOWEST) ** share)


def squashed(gene: float) -> float:
    """Any number into [0, 1]."""
    return float(1 + np.tanh(gene)) / 2


def within(genes: dict[str, float], name: str) -> float:
    """A gene in its range."""
    low, high = RANGES[name]
    return low + (high - low) * squashed(genes[name])


def _limb(own: dict[str, float], torso: Segment, first: int) -> Iterator[Segment]:
    """The segments of a limb: of a pair the right one, beside the torso, else one in the torso's own plane."""
    pair = own["pair"] > 0
    place, elevation, azimuth = (within(own, name) for name in ("place", "elevation", "azimuth"))
    start = place * torso.end + (np.array([0, torso.radius, 0]) if pair else 0)
    parent = 0
    for part in range(PARTS if own["second"] > 0 else 1):
        up = elevation + part * within(own, "bend")
        there = (cos(up) * sin(azimuth), cos(up) * cos(azimuth), sin(up)) if pair else (cos(2 * up), 0, sin(2 * up))
        gene = {name: own[f"part{part}_{name}"] for name in PART}
        end = start + within(gene, "length") * np.array(there)
        axis = np.array([gene[f"axis_{x}"] for x in "xyz"]) + np.array([0, 1e-6, 0])  # about y where all genes are 0
        reach = within(gene, "reach")
        amplitude, centre = reach * within(gene, "amplitude"), reach * within(gene, "centre")
        yield Segment(parent, start, end, within(gene, "radius"), axis / np.linalg.norm(axis), reach, amplitude,
                      pi * gene["phase"], centre)  # fmt: skip
        start, parent = end, first + part


def _mirrored(one: Segment, count: int, opposite: bool) -> Segment:
    """A segment of a limb of ``count`` on the other side of y = 0; angles turn the other way in a mirror."""
    flip = np.array([1, -1, 1])
    parent, phase = one.parent + count if one.parent else 0, one.phase + pi * opposite
    return one._replace(parent=parent, start=one.start * flip, end=one.end * flip, axis=-one.axis * flip, phase=phase)
