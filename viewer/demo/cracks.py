"""Cracks: where they run, how wide they gape, and what water made of them."""

import itertools
import math
import random
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw

from viewer.demo.surfaces import Surface
from viewer.demo.texture import Size, blotches, blurred, grain, lay, tone

Point = tuple[float, float]
WIDTHS = {"hairline": 2.2, "narrow": 4.5, "medium": 9.0, "wide": 19.0}  # pixels of a 1600 px photo


@dataclass(frozen=True)
class Crack:
    """One crack with its branches, as drawn: white where it gapes."""

    mask: Image.Image
    spine: list[Point]
    width: float


def run(rng: random.Random, surface: Surface, kind: str, unit: float, width: float) -> Crack:
    """A crack over this surface: stepping along the joints, or wandering where there are none."""
    size = surface.grey.size
    if surface.course and rng.random() < 0.85:
        spine = _step_along(rng, size, surface.course)
    else:
        spine = _wander(rng, *_ends(rng, size, kind), roughness=0.17)
    if surface.course:  # mortar joints are thin, and what opens in them is thinner
        width = max(WIDTHS["narrow"], width * (0.55 if kind == "brick" else 0.75))
    # Drawn at twice the size and halved: hairlines must not look like staircases.
    canvas = Image.new("L", (size[0] * 2, size[1] * 2), 0)
    draw = ImageDraw.Draw(canvas)
    _gape(draw, rng, spine, width * unit * 2)
    if not surface.course:
        _branch(draw, rng, spine, width * unit * 2, unit, depth=0)
    return Crack(canvas.reduce(2), spine, width * unit)


def carve(grey: Image.Image, crack: Crack, rng: random.Random, unit: float) -> Image.Image:
    """The crack cut into the surface: a dark depth, a worn shoulder, the far edge in the light."""
    soft = blurred(crack.mask, 2.2 * unit + crack.width * 0.16)
    grey = lay(grey, tone(soft, lambda v: 128 - v * 0.3))
    reach = max(1, round(0.8 * unit + crack.width * 0.16))
    edge = ImageChops.subtract(ImageChops.offset(crack.mask, reach, reach), crack.mask)
    grey = lay(grey, tone(edge, lambda v: 128 + v * 0.2))
    depth = tone(grain(rng, grey.size, 7 * unit), lambda v: 16 + v * 0.16)
    return Image.composite(depth, grey, tone(crack.mask, lambda v: v * 0.94))


def dampen(picture: Image.Image, crack: Crack, rng: random.Random, unit: float) -> Image.Image:
    """Water that came through: a dark patch below, with a ragged shore and a chalky tide line."""
    size = picture.size
    top = crack.spine[rng.randrange(len(crack.spine) // 4, len(crack.spine) * 3 // 4)]
    shape = Image.new("L", (size[0] // 4, size[1] // 4), 0)
    draw = ImageDraw.Draw(shape)
    lower = [p for p in crack.spine if p[1] >= top[1]] or [top]
    for x, y in lower[:: max(1, len(lower) // 40)]:
        r = (36 + 110 * (y - top[1]) / max(1.0, size[1] - top[1])) * unit * rng.uniform(0.7, 1.5)
        draw.ellipse(((x - r) / 4, (y - r) / 4, (x + r) / 4, (y + r) / 4), fill=255)
    foot_x, foot_y = max(lower, key=lambda p: p[1])
    spread = rng.uniform(70, 190) * unit
    run_off = [
        (foot_x - 30 * unit, foot_y),
        (foot_x + 30 * unit, foot_y),
        (foot_x + spread, size[1] + 40),
        (foot_x - spread, size[1] + 40),
    ]
    draw.polygon([(x / 4, y / 4) for x, y in run_off], fill=255)
    soft = blurred(shape, 11 * unit)
    ragged = lay(soft, blotches(rng, soft.size, (48 * unit, 14 * unit, 5 * unit, 2 * unit)), 0.55)
    wet = tone(ragged, lambda v: (v - 104) * 3.4).resize(size, Image.Resampling.BICUBIC)
    shore = tone(ragged, lambda v: 130 - abs(v - 104) * 9).resize(size, Image.Resampling.BICUBIC)
    chalk = Image.new("RGB", size, (214, 209, 196))
    picture = Image.composite(chalk, picture, tone(shore, lambda v: v * 0.5))
    dark = ImageChops.multiply(picture, Image.new("RGB", size, (138, 136, 130)))
    return Image.composite(dark, picture, tone(wet, lambda v: v * 0.92))


def effloresce(picture: Image.Image, crack: Crack, rng: random.Random, unit: float) -> Image.Image:
    """The white salts that water leaves along a crack, in crusts and runs."""
    near = blurred(crack.mask, 20 * unit)
    peak = max((v for v, n in enumerate(near.histogram()) if n and v), default=1)
    near = tone(near, lambda v: v / peak * 190)
    runs = ImageChops.offset(
        near.resize((near.width, near.height // 3)).resize(near.size), 0, round(26 * unit)
    )
    ragged = lay(
        ImageChops.lighter(near, runs),
        blotches(rng, near.size, (44 * unit, 16 * unit, 5 * unit)),
        0.8,
    )
    crust = ImageChops.multiply(tone(ragged, lambda v: (v - 84) * 3.2), tone(near, lambda v: v * 3))
    salt = tone(grain(rng, picture.size, 2.5 * unit), lambda v: 206 + v * 0.16)
    return Image.composite(
        Image.merge("RGB", (salt, salt, salt)), picture, tone(crust, lambda v: v * 0.8)
    )


def rust(picture: Image.Image, crack: Crack, rng: random.Random, unit: float) -> Image.Image:
    """A brown run below the crack, from the steel behind it."""
    size = (picture.width // 4, picture.height // 4)
    run_off = Image.new("L", size, 0)
    draw = ImageDraw.Draw(run_off)
    for _ in range(rng.randint(2, 5)):
        x, y = rng.choice(crack.spine)
        length, thick = rng.uniform(80, 320) * unit, rng.uniform(5, 16) * unit
        ends = ((x - thick) / 4, y / 4, (x + thick) / 4, y / 4, (x + 3) / 4, (y + length) / 4)
        draw.polygon(ends, fill=rng.randint(110, 190))
    soft = blurred(run_off, 3.2 * unit)
    soft = ImageChops.multiply(
        soft, tone(blotches(rng, size, (18 * unit, 6 * unit)), lambda v: v + 70)
    )
    brown = ImageChops.multiply(picture, Image.new("RGB", picture.size, (214, 150, 92)))
    return Image.composite(brown, picture, soft.resize(picture.size, Image.Resampling.BICUBIC))


def _ends(rng: random.Random, size: Size, kind: str) -> tuple[Point, Point]:
    """From edge to edge: down a wall, any way across a floor."""
    w, h = size
    if kind == "slab" and rng.random() < 0.6:
        return (-20, rng.uniform(0.25, 0.75) * h), (w + 20, rng.uniform(0.25, 0.75) * h)
    x = rng.uniform(0.34, 0.66) * w
    lean = rng.uniform(-0.2, 0.2) * w
    bottom = h + 20 if rng.random() < 0.75 else rng.uniform(0.72, 0.9) * h
    return (x, -20), (x + lean, bottom)


def _wander(rng: random.Random, start: Point, end: Point, roughness: float) -> list[Point]:
    """Midpoints pushed aside, and theirs again: straight runs, sudden turns, as concrete breaks."""
    points = [start, end]
    while math.dist(points[0], points[1]) > 7:
        finer = [points[0]]
        for a, b in itertools.pairwise(points):
            length = math.dist(a, b)
            push = rng.gauss(0, roughness) * length * (0.62 if length > 200 else 1.0)
            nx, ny = (a[1] - b[1]) / length, (b[0] - a[0]) / length
            t = rng.uniform(0.38, 0.62)
            middle = (a[0] + (b[0] - a[0]) * t + nx * push, a[1] + (b[1] - a[1]) * t + ny * push)
            finer += [middle, b]
        points = finer
    return points


def _step_along(rng: random.Random, size: Size, course: tuple[float, float]) -> list[Point]:
    """A staircase through the joints, across the middle of the photo."""
    width, height = course
    row = round(size[1] / 2 / height)
    column = round(size[0] * rng.uniform(0.35, 0.65) / width)
    middle = (column * width + (row % 2) * width / 2, row * height)
    towards = rng.choice((-1, 1))
    corners = _stairs(rng, size, course, middle, -towards, -1)[::-1][:-1]
    corners += _stairs(rng, size, course, middle, towards, 1)
    spine: list[Point] = []
    for a, b in itertools.pairwise(corners):
        if math.dist(a, b) > 1:
            spine += _wander(rng, a, b, roughness=0.035)[:-1]
    return spine


def _stairs(
    rng: random.Random,
    size: Size,
    course: tuple[float, float],
    start: Point,
    towards: int,
    down: int,
) -> list[Point]:
    """The corners from `start` to the edge of the wall, course by course."""
    width, height = course
    x, y = start
    corners = [start]
    while -height < y < size[1] + height and -width < x < size[0] + width:
        # A course is left by the joint at its end; going up, the way along comes first.
        steps = ((0.0, height), (towards * width / 2, 0.0))
        for dx, dy in steps if down > 0 else steps[::-1]:
            x, y = x + dx, y + dy * down
            corners.append((x, y))
        if rng.random() < 0.12:
            towards = -towards
    return corners


def _gape(draw: ImageDraw.ImageDraw, rng: random.Random, spine: list[Point], width: float) -> None:
    """Fill the crack between its two edges, which do not quite match. Coordinates are doubled."""
    left: list[Point] = []
    right: list[Point] = []
    swell, target = 1.0, 1.0
    for i, (a, b) in enumerate(itertools.pairwise(spine)):
        if i % 9 == 0:
            target = rng.uniform(0.35, 1.45)
        swell += (target - swell) * 0.22
        taper = min(1.0, (len(spine) - i) / (len(spine) * 0.3) + 0.1)
        half = width * swell * taper / 2
        length = math.dist(a, b) or 1.0
        nx, ny = (a[1] - b[1]) / length, (b[0] - a[0]) / length
        near, far = half * rng.uniform(0.6, 1.35), half * rng.uniform(0.6, 1.35)
        left.append((a[0] * 2 + nx * near, a[1] * 2 + ny * near))
        right.append((a[0] * 2 - nx * far, a[1] * 2 - ny * far))
    for i in range(len(left) - 1):
        draw.polygon((left[i], left[i + 1], right[i + 1], right[i]), fill=255)
    draw.line([(x * 2, y * 2) for x, y in spine], fill=200, width=max(1, round(width * 0.22)))


def _branch(
    draw: ImageDraw.ImageDraw,
    rng: random.Random,
    spine: list[Point],
    width: float,
    unit: float,
    depth: int,
) -> None:
    """Finer cracks that leave the main one, and finer ones that leave those."""
    for _ in range(rng.randint(1, 4) if depth == 0 else rng.randint(0, 1)):
        at = rng.randrange(len(spine) // 8, max(len(spine) // 8 + 1, len(spine) * 7 // 8))
        x, y = spine[at]
        ahead = spine[min(at + 6, len(spine) - 1)]
        heading = math.atan2(ahead[1] - y, ahead[0] - x) + rng.choice((-1, 1)) * rng.uniform(
            0.4, 1.1
        )
        length = rng.uniform(90, 460) * unit / (depth + 1)
        end = (x + math.cos(heading) * length, y + math.sin(heading) * length)
        twig = _wander(rng, (x, y), end, roughness=0.17)
        thin = width * rng.uniform(0.16, 0.42)
        _gape(draw, rng, twig, max(1.6, thin))
        if depth < 1:
            _branch(draw, rng, twig, thin, unit, depth + 1)
