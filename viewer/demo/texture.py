"""Grain, blotches and relief: the small grey pictures that surfaces are made of.

Every picture here is mode L and centred on 128, so that it can be laid over another by `lay`.
Chance comes from the caller's `random.Random`, never from Pillow's own noise, which cannot be
seeded.
"""

import random
from collections.abc import Callable

from PIL import Image, ImageChops, ImageFilter

Size = tuple[int, int]


def grain(rng: random.Random, size: Size, cell: float) -> Image.Image:
    """Noise whose spots are `cell` pixels wide."""
    small = (max(2, round(size[0] / cell)), max(2, round(size[1] / cell)))
    speckle = Image.frombytes("L", small, rng.randbytes(small[0] * small[1]))
    return speckle if small == size else speckle.resize(size, Image.Resampling.BICUBIC)


def blotches(rng: random.Random, size: Size, cells: tuple[float, ...]) -> Image.Image:
    """Noise of several sizes at once, the widest strongest: what time does to a wall."""
    whole = Image.new("L", (2, 2), 128)
    for n, cell in enumerate(sorted(cells, reverse=True)):
        # Soft spots need few pixels: each size is drawn no finer than it shows.
        step = max(1.0, cell / 3)
        at = (max(2, round(size[0] / step)), max(2, round(size[1] / step)))
        spots = grain(rng, at, cell / step)
        share = 0.36 if n else 1.0
        whole = Image.blend(whole.resize(at, Image.Resampling.BICUBIC), spots, share)
    return whole if whole.size == size else whole.resize(size, Image.Resampling.BILINEAR)


def stretch(picture: Image.Image, gain: float, middle: int = 128) -> Image.Image:
    """More (or less) contrast around `middle`, which itself becomes 128."""
    return tone(picture, lambda v: 128 + (v - middle) * gain)


def lay(ground: Image.Image, over: Image.Image, gain: float = 1.0) -> Image.Image:
    """`ground`, brightened where `over` is above 128 and darkened where it is below."""
    return ImageChops.add(ground, stretch(over, gain) if gain != 1.0 else over, 1, -128)


def relief(height: Image.Image, step: int) -> Image.Image:
    """The light from the upper left on a surface of this height."""
    return ImageChops.subtract(ImageChops.offset(height, step, step), height, 1, 128)


def tone(picture: Image.Image, curve: Callable[[int], float]) -> Image.Image:
    """The picture, each brightness sent through `curve`."""
    table = [min(255, max(0, round(curve(v)))) for v in range(256)]
    return picture.point(table * len(picture.getbands()))


def blurred(picture: Image.Image, radius: float) -> Image.Image:
    """A wide soft blur, taken on a smaller copy because nobody can tell."""
    reduce = max(1, int(radius / 1.5))
    small = picture.reduce(reduce) if reduce > 1 else picture
    soft = small.filter(ImageFilter.GaussianBlur(radius / reduce))
    return soft.resize(picture.size, Image.Resampling.BICUBIC) if reduce > 1 else soft
