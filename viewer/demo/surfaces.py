"""Walls and floors before anything happened to them: poured, block, slab, brick.

A surface is a grey picture (its shape and grain), a colour, and, where it is laid in courses,
the joints a crack would follow.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw

from viewer.demo.texture import Size, blotches, blurred, grain, lay, relief, stretch, tone

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Surface:
    """What a wall looks like, in grey, and how to colour it."""

    grey: Image.Image
    tint: Image.Image  # RGB, multiplied with the grey
    course: tuple[float, float] | None = None  # size of a block or brick with its joint


def build(kind: str, rng: random.Random, size: Size, unit: float) -> Surface:
    """A surface of this kind; `unit` is the length that is one pixel in a 1600 pixel photo."""
    return _BUILDERS[kind](rng, size, unit)


def _poured(rng: random.Random, size: Size, unit: float) -> Surface:
    """Concrete cast in forms: panel seams, tie holes, air holes, pour lines."""
    grey = Image.new("L", size, 168)
    grey = lay(grey, blotches(rng, size, (520 * unit, 240 * unit, 110 * unit, 50 * unit)), 0.24)
    grey = lay(grey, _streaks(rng, size, unit), 0.13)
    grey = lay(grey, blotches(rng, size, (14 * unit, 6 * unit, 3 * unit)), 0.22)
    height = blotches(rng, size, (9 * unit, 4 * unit, 2.2 * unit))
    grey = lay(grey, relief(height, max(1, round(1.4 * unit))), 0.24)
    grey = _air_holes(grey, rng, unit)
    grey = _pour_lines(grey, rng, unit)
    grey = _panel_seams(grey, rng, unit, zoom=rng.choice((0.8, 1.0, 1.35)))
    colour = rng.choice(((196, 190, 178), (189, 189, 184), (203, 196, 182), (180, 183, 182)))
    return Surface(grey, _tint(rng, size, unit, colour))


def _slab(rng: random.Random, size: Size, unit: float) -> Surface:
    """A trowelled floor: smooth sweeps, dust, sometimes a saw-cut joint."""
    grey = Image.new("L", size, 158)
    grey = lay(grey, blotches(rng, size, (420 * unit, 180 * unit, 80 * unit, 36 * unit)), 0.24)
    grey = lay(grey, _sweeps(rng, size, unit), 0.22)
    grey = lay(grey, blotches(rng, size, (12 * unit, 5 * unit, 2.4 * unit)), 0.24)
    grey = lay(grey, relief(blotches(rng, size, (6 * unit, 2 * unit)), 1), 0.2)
    if rng.random() < 0.45:
        grey = _saw_cut(grey, rng, unit)
    grey = _grit(grey, rng, unit)
    colour = rng.choice(((186, 182, 174), (176, 176, 173), (194, 186, 172)))
    return Surface(grey, _tint(rng, size, unit, colour))


def _block(rng: random.Random, size: Size, unit: float) -> Surface:
    """Concrete masonry: grey blocks, or blocks painted white long ago."""
    painted = rng.random() < 0.45
    course = (392 * unit, 200 * unit)
    height = blotches(rng, size, (7 * unit, 3.4 * unit, 1.8 * unit))
    grey = Image.new("L", size, 196 if painted else 150)
    grey = lay(grey, blotches(rng, size, (460 * unit, 170 * unit, 60 * unit)), 0.26)
    grey = lay(grey, height, 0.1 if painted else 0.24)
    grey = lay(grey, relief(height, max(1, round(1.6 * unit))), 0.22 if painted else 0.4)
    grey = lay(grey, _units(rng, size, course, 10 if painted else 30))
    joint = _joints(rng, size, course, 11 * unit, unit)
    grey = _sink_joints(grey, joint, unit, face=-8 if painted else 10)
    colour = (
        rng.choice(((226, 224, 214), (219, 220, 216), (224, 217, 196)))
        if painted
        else rng.choice(((188, 184, 177), (178, 178, 177)))
    )
    return Surface(grey, _tint(rng, size, unit, colour), course)


def _brick(rng: random.Random, size: Size, unit: float) -> Surface:
    """Old red brick in lime mortar, every brick its own red."""
    course = (232 * unit, 84 * unit)
    height = blotches(rng, size, (11 * unit, 5 * unit, 2.4 * unit))
    grey = Image.new("L", size, 168)
    grey = lay(grey, blotches(rng, size, (400 * unit, 150 * unit, 50 * unit)), 0.3)
    grey = lay(grey, height, 0.3)
    grey = lay(grey, relief(height, max(1, round(1.5 * unit))), 0.45)
    joint = _joints(rng, size, course, 12 * unit, unit)
    grey = _sink_joints(grey, joint, unit, face=26)
    reds = _unit_colours(rng, size, course)
    reds = ImageChops.multiply(reds, Image.new("RGB", size, (246, 240, 236)))
    lime = Image.new("RGB", size, (204, 194, 178))
    return Surface(grey, Image.composite(lime, reds, joint), course)


_BUILDERS: dict[str, Callable[[random.Random, Size, float], Surface]] = {
    "poured": _poured,
    "slab": _slab,
    "block": _block,
    "brick": _brick,
}
KINDS = tuple(_BUILDERS)


def _tint(rng: random.Random, size: Size, unit: float, colour: Colour) -> Image.Image:
    """One colour, drifting a little to the warm and to the cold as cement does."""
    drift = blotches(rng, (size[0] // 4, size[1] // 4), (130 * unit, 50 * unit))
    channels = (
        stretch(drift, 0.07).point([min(255, max(0, v + colour[0] - 128)) for v in range(256)]),
        stretch(drift, 0.04).point([min(255, max(0, v + colour[1] - 128)) for v in range(256)]),
        stretch(drift, -0.04).point([min(255, max(0, v + colour[2] - 128)) for v in range(256)]),
    )
    return Image.merge("RGB", channels).resize(size, Image.Resampling.BILINEAR)


def _streaks(rng: random.Random, size: Size, unit: float) -> Image.Image:
    """What ran down the wall over the years."""
    columns = grain(rng, (size[0], 2), 26 * unit).resize((size[0] // 2, 4))
    wall = columns.resize((size[0] // 2, size[1] // 8), Image.Resampling.BICUBIC)
    return Image.blend(wall, grain(rng, wall.size, 40), 0.3).resize(size)


def _sweeps(rng: random.Random, size: Size, unit: float) -> Image.Image:
    """The arcs a trowel leaves."""
    arcs = Image.new("L", (size[0] // 2, size[1] // 2), 128)
    draw = ImageDraw.Draw(arcs)
    for _ in range(60):
        x, y = rng.uniform(0, arcs.width), rng.uniform(0, arcs.height)
        radius = rng.uniform(120, 340) * unit
        start = rng.uniform(0, 360)
        box = (x - radius, y - radius, x + radius, y + radius)
        shade = 128 + rng.choice((-1, 1)) * rng.randint(20, 90)
        draw.arc(box, start, start + rng.uniform(30, 80), shade, max(1, round(7 * unit)))
    return blurred(arcs, 6 * unit).resize(size)


def _air_holes(grey: Image.Image, rng: random.Random, unit: float) -> Image.Image:
    """The pits that bubbles left against the form, thicker in some places than in others."""
    draw = ImageDraw.Draw(grey)
    nests = [
        (rng.uniform(0, grey.width), rng.uniform(0, grey.height), rng.uniform(80, 420) * unit)
        for _ in range(9)
    ]
    for _ in range(rng.randint(90, 260)):
        cx, cy, spread = rng.choice(nests)
        x, y = rng.gauss(cx, spread), rng.gauss(cy, spread)
        r = min(6.5, rng.expovariate(0.75) + 0.7) * unit
        h = r * rng.uniform(0.6, 1.0)
        lit = (x - r * 0.7, y - h * 0.7, x + r * 1.3, y + h * 1.4)
        draw.ellipse(lit, fill=rng.randint(185, 205))
        draw.ellipse((x - r, y - h, x + r, y + h), fill=rng.randint(55, 105))
    return grey


def _pour_lines(grey: Image.Image, rng: random.Random, unit: float) -> Image.Image:
    """Where one load of concrete met the next: a wavering, slightly darker seam."""
    if rng.random() < 0.5:
        return grey
    line = Image.new("L", grey.size, 128)
    y = rng.uniform(0.2, 0.8) * grey.height
    points = []
    for x in range(0, grey.width + 40, 40):
        y += rng.uniform(-9, 9) * unit
        points.append((x, y))
    draw = ImageDraw.Draw(line)
    below = [(x, y + 26 * unit) for x, y in reversed(points)]
    draw.polygon(points + below, fill=118)
    draw.line(points, fill=88, width=max(2, round(4 * unit)))
    return lay(grey, blurred(line, 4 * unit), 1.0)


def _panel_seams(grey: Image.Image, rng: random.Random, unit: float, zoom: float) -> Image.Image:
    """The seams between form panels, and the tie holes beside them, some plugged with mortar."""
    draw = ImageDraw.Draw(grey)
    pitch = 760 * unit * zoom
    left = rng.uniform(0.05, 0.95) * pitch
    plugged = rng.random() < 0.5
    x = left - pitch
    while x < grey.width + pitch:
        lean = rng.uniform(-5, 5) * unit
        width = max(1, round(rng.uniform(2, 4) * unit))
        draw.line((x + width, 0, x + lean + width, grey.height), fill=196, width=width)
        draw.line((x, 0, x + lean, grey.height), fill=120, width=width)
        y = rng.uniform(0.1, 0.5) * pitch
        while y < grey.height:
            for side in (-46 * unit * zoom, 46 * unit * zoom):
                jitter = rng.uniform(-4, 4) * unit
                _tie_hole(draw, x + side + jitter, y + jitter, 11 * unit * zoom, plugged, rng)
            y += pitch * 0.72
        x += pitch
    return grey


def _tie_hole(
    draw: ImageDraw.ImageDraw, x: float, y: float, r: float, plugged: bool, rng: random.Random
) -> None:
    if plugged:
        shade = rng.randint(138, 186)
        for _ in range(5):
            dx, dy, s = rng.uniform(-0.6, 0.6) * r, rng.uniform(-0.6, 0.6) * r, r * 1.6
            draw.ellipse((x + dx - s, y + dy - s, x + dx + s, y + dy + s), fill=shade)
        return
    draw.ellipse((x - r, y - r * 0.8, x + r * 1.35, y + r * 1.45), fill=204)
    draw.ellipse((x - r * 1.1, y - r * 1.1, x + r, y + r), fill=46)
    draw.ellipse((x - r * 0.5, y - r * 0.3, x + r * 0.7, y + r * 0.8), fill=66)


def _saw_cut(grey: Image.Image, rng: random.Random, unit: float) -> Image.Image:
    draw = ImageDraw.Draw(grey)
    y = rng.uniform(0.12, 0.85) * grey.height
    slope = rng.uniform(-40, 40) * unit
    width = max(2, round(8 * unit))
    draw.line((0, y + width, grey.width, y + slope + width), fill=190, width=width)
    draw.line((0, y, grey.width, y + slope), fill=62, width=width)
    return grey


def _grit(grey: Image.Image, rng: random.Random, unit: float) -> Image.Image:
    """Crumbs on the floor, each with its shadow."""
    draw = ImageDraw.Draw(grey)
    for _ in range(rng.randint(50, 150)):
        x, y = rng.uniform(0, grey.width), rng.uniform(0, grey.height)
        r = min(5.0, 0.8 + rng.expovariate(1.1)) * unit
        draw.ellipse((x - r * 0.4, y - r * 0.2, x + r * 1.9, y + r * 1.4), fill=92)
        draw.ellipse((x - r, y - r, x + r, y + r * 0.7), fill=rng.randint(160, 225))
    return grey


def _courses(
    rng: random.Random, size: Size, course: tuple[float, float]
) -> list[tuple[float, float]]:
    """The upper left corner of every block or brick, each course shifted by half."""
    width, height = course
    corners = []
    for row in range(-1, int(size[1] / height) + 2):
        shift = (row % 2) * width / 2
        for column in range(-1, int(size[0] / width) + 2):
            corners.append((column * width + shift, row * height))
    return corners


def _units(rng: random.Random, size: Size, course: tuple[float, float], spread: int) -> Image.Image:
    """Every block a little lighter or darker than its neighbour."""
    small = Image.new("L", (size[0] // 4, size[1] // 4), 128)
    draw = ImageDraw.Draw(small)
    for x, y in _courses(rng, size, course):
        box = (x / 4, y / 4, (x + course[0]) / 4, (y + course[1]) / 4)
        draw.rectangle(box, fill=128 + rng.randint(-spread, spread))
    return small.resize(size)


def _unit_colours(rng: random.Random, size: Size, course: tuple[float, float]) -> Image.Image:
    reds = (
        (176, 92, 70),
        (160, 80, 62),
        (188, 108, 84),
        (146, 74, 62),
        (170, 100, 78),
        (132, 76, 66),
    )
    small = Image.new("RGB", (size[0] // 4, size[1] // 4))
    draw = ImageDraw.Draw(small)
    for x, y in _courses(rng, size, course):
        box = (x / 4, y / 4, (x + course[0]) / 4, (y + course[1]) / 4)
        r, g, b = rng.choice(reds)
        d = rng.randint(-12, 12)
        draw.rectangle(box, fill=(r + d, g + d, b + d))
    return small.resize(size)


def _joints(
    rng: random.Random, size: Size, course: tuple[float, float], width: float, unit: float
) -> Image.Image:
    """Where the mortar is (255) and where it is not, with the ragged edge mortar has."""
    faces = Image.new("L", size, 255)
    draw = ImageDraw.Draw(faces)
    half = width / 2
    for x, y in _courses(rng, size, course):
        a, b, c, d = (rng.uniform(-2.4, 2.4) * unit for _ in range(4))
        box = (x + half + a, y + half + b, x + course[0] - half + c, y + course[1] - half + d)
        draw.rounded_rectangle(box, radius=5 * unit, fill=0)
    ragged = blurred(faces, 2.6 * unit)
    ragged = lay(ragged, blotches(rng, size, (12 * unit, 5 * unit)), 0.85)
    return tone(ragged, lambda v: (v - 128) * 7 + 128)


def _sink_joints(grey: Image.Image, joint: Image.Image, unit: float, *, face: int) -> Image.Image:
    """Recess the mortar: its own brightness, a shadow under the upper edge, light on the lower."""
    mortar = tone(grey, lambda v: 134 + (v - 150) * 0.8 + face)
    out = Image.composite(mortar, grey, joint)
    soft = blurred(joint, 1.5 * unit)
    return lay(out, relief(soft, max(1, round(3 * unit))), -0.26)
