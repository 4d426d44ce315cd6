"""A course as a film without a screen: capsules from the side, on a floor with a line each half metre, as a GIF.

It is drawn here, since a renderer needs a graphics driver that a plain container lacks.  The body goes to the right,
whatever way it goes; nearer parts are drawn over farther ones, and lower on the page.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from altprop.tasks.creatures.body import Vector
from altprop.tasks.creatures.shaping import lengths
from altprop.tasks.creatures.simulation import Course, longest

SIZE, FLOOR, RATE = (400, 225), 175, 12.5  # pixels, the floor's line, frames a second
SKY, GROUND, LINE, WORDS, EDGE = "#f4f7fb", "#dfe6ee", "#b4c0cf", "#33415c", "#22304a"
COLOURS = ("#d1495b", "#2e86ab", "#66a182", "#edae49", "#8d6a9f", "#00798c")
SLANT = (0.35, 0.3)  # of the depth, to the right and upwards


def film(course: Course, path: Path) -> None:
    """Write the course as a GIF that repeats."""
    rows = range(0, len(course.states), max(1, round(1 / RATE / course.step)))
    way = course.centres[-1, :2] - course.centres[0, :2]
    u = way / np.linalg.norm(way) if np.linalg.norm(way) > 1e-3 else np.array([1.0, 0.0])
    turn = np.array([[u[0], u[1], 0], [-u[1], u[0], 0], [0, 0, 1]])  # along, across, up
    scale = SIZE[0] / 4 / longest(*course.at(course.settled))
    frames = []
    for row in rows:
        ends, radii = course.at(row)
        middle = turn @ course.centres[max(row - 1, 0)]
        said = f"{row * course.step:4.1f} s  {(middle - turn @ course.centres[0])[0]:5.2f} m"
        frames.append(_frame(ends @ turn.T, radii, middle, scale, said))
    frames[-1] = _frame(ends @ turn.T, radii, middle, scale, f"{said}  {lengths(course):.1f} lengths of its body")
    one = frames[0].quantize(16)
    frames = [frame.quantize(palette=one, dither=Image.Dither.NONE) for frame in frames]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=round(1000 / RATE), loop=0, optimize=False)


def _frame(ends: Vector, radii: Vector, middle: Vector, scale: float, said: str) -> Image.Image:
    """ends (2, B, 3) along, across and up; the page follows ``middle`` (3,)."""
    picture = Image.new("RGB", SIZE, SKY)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, FLOOR - 45, *SIZE), fill=GROUND)
    for line in np.arange(np.floor(middle[0] * 2) - 12, middle[0] * 2 + 12) / 2:
        draw.line([_page(np.array([line, w, 0]), middle, scale) for w in (middle[1] - 9, middle[1] + 9)], fill=LINE)
    draw.rectangle((0, 0, SIZE[0], FLOOR - 46), fill=SKY)
    for one in np.argsort(-ends[:, :, 1].mean(0)).tolist():  # the farthest first
        places = [_page(end, middle, scale) for end in ends[:, one]]
        for wider, colour in ((1, EDGE), (-1, COLOURS[one % len(COLOURS)])):
            r = max(1.0, radii[one] * scale + wider)
            draw.line(places, fill=colour, width=round(2 * r))
            for x, y in places:
                draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    draw.text((8, 6), said, fill=WORDS)
    return picture


def _page(place: Vector, middle: Vector, scale: float) -> tuple[float, float]:
    along, across = (place - middle)[:2] * scale
    return SIZE[0] / 2 + along + SLANT[0] * across, FLOOR - SLANT[1] * across - place[2] * scale
