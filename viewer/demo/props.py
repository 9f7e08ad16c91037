"""What people hold beside a crack: a tape measure, a coin, a pencilled date."""

import math
import random

from PIL import Image, ImageDraw, ImageFont

from viewer.demo.texture import blurred, grain, tone

# Digits as a hand draws them, in a box one wide and two high.
_STROKES: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "0": (((0.5, 0), (0.05, 0.6), (0.1, 1.6), (0.5, 2), (0.9, 1.5), (0.95, 0.5), (0.5, 0)),),
    "1": (((0.3, 0.4), (0.6, 0), (0.5, 2)),),
    "2": (((0.1, 0.4), (0.5, 0), (0.9, 0.5), (0.05, 2), (1, 1.9)),),
    "3": (((0.1, 0.1), (0.8, 0.2), (0.4, 0.9), (0.9, 1.4), (0.5, 2), (0, 1.8)),),
    "4": (((0.5, 0), (0, 1.2), (1, 1.1)), ((0.8, 0.5), (0.7, 2))),
    "5": (((0.9, 0), (0.2, 0.1), (0.1, 0.8), (0.8, 1), (0.8, 1.7), (0, 2)),),
    "6": (((0.8, 0), (0.1, 1), (0.2, 1.9), (0.8, 1.8), (0.8, 1.1), (0.1, 1.3)),),
    "7": (((0, 0.1), (0.9, 0), (0.3, 2)),),
    "8": (((0.8, 0.3), (0.2, 0.2), (0.8, 1.4), (0.4, 2), (0.1, 1.5), (0.9, 0.4)),),
    "9": (((0.9, 0.5), (0.3, 0.9), (0.2, 0.2), (0.8, 0.1), (0.7, 2)),),
    "/": (((0.9, -0.1), (0.1, 2.1)),),
}


def tape(picture: Image.Image, rng: random.Random, unit: float, at: tuple[float, float]) -> None:
    """A steel tape laid across, numbered in inches."""
    inch, width = 96 * unit, round(72 * unit)
    length = round(math.hypot(*picture.size) * rng.uniform(0.5, 0.75))
    blade = Image.new("RGBA", (length, width), (0, 0, 0, 255))
    draw = ImageDraw.Draw(blade)
    for y in range(width):
        bend = math.sin(math.pi * (y + 0.5) / width)
        shade = 0.62 + 0.4 * bend
        colour = (round(236 * shade), round(190 * shade), round(48 * shade), 255)
        draw.line((0, y, length, y), fill=colour)
    font = ImageFont.load_default(round(30 * unit))
    first = rng.randint(2, 9)
    for tick in range(int(length / inch * 16)):
        x = tick * inch / 16
        reach = next(
            r for n, r in ((16, 0.5), (8, 0.36), (4, 0.27), (2, 0.19), (1, 0.12)) if tick % n == 0
        )
        draw.line((x, 0, x, width * reach), fill=(28, 24, 20, 255), width=max(1, round(1.6 * unit)))
        draw.line((x, width, x, width - width * reach * 0.6), fill=(28, 24, 20, 255), width=1)
        if tick % 16 == 0 and tick:
            number = first + tick // 16
            red = number % 12 == 0
            draw.text(
                (x - 6 * unit, width * 0.42),
                str(number),
                fill=(176, 26, 22, 255) if red else (24, 22, 20, 255),
                font=font,
                anchor="ra",
            )
    _put(picture, blade, at, rng.uniform(-14, 14), unit)


def coin(picture: Image.Image, rng: random.Random, unit: float, at: tuple[float, float]) -> None:
    """A quarter, stuck to the wall or lying on the floor."""
    side = round(118 * unit)
    face = Image.new("RGBA", (side * 2, side * 2), (0, 0, 0, 0))
    draw = ImageDraw.Draw(face)
    for i in range(side):
        shade = 128 + round(62 * math.sin(i / side * 3.1))
        colour = (shade, shade - 2, shade - 8, 255)
        draw.ellipse(
            (i * 0.35, i * 0.35, side * 2 - 1 - i * 0.35, side * 2 - 1 - i * 0.35), fill=colour
        )
    draw.ellipse((4, 4, side * 2 - 5, side * 2 - 5), outline=(214, 214, 208, 255), width=6)
    draw.ellipse((16, 16, side * 2 - 17, side * 2 - 17), outline=(104, 102, 98, 255), width=4)
    head = (
        *((0.42, 0.28), (0.56, 0.24), (0.66, 0.33), (0.67, 0.46), (0.61, 0.5), (0.63, 0.58)),
        *((0.56, 0.63), (0.58, 0.74), (0.36, 0.76), (0.4, 0.6), (0.33, 0.48), (0.35, 0.35)),
    )
    draw.polygon([(x * side * 2 + 5, y * side * 2 + 5) for x, y in head], fill=(96, 94, 90, 255))
    draw.polygon([(x * side * 2, y * side * 2) for x, y in head], fill=(188, 187, 181, 255))
    for i in range(26):
        a = math.pi * (0.62 + 1.76 * i / 25)
        x, y = side + math.sin(a) * side * 0.8, side - math.cos(a) * side * 0.8
        if i not in (12, 13):
            draw.line((x, y, x + 9, y - 7), fill=(96, 94, 90, 255), width=5)
    face = blurred(face, 1.2).resize((side, side), Image.Resampling.LANCZOS)
    _put(picture, face, at, rng.uniform(-40, 40), unit)


def pencil_date(
    picture: Image.Image, rng: random.Random, unit: float, at: tuple[float, float], text: str
) -> None:
    """The day somebody marked the crack's end, and the mark itself."""
    layer = Image.new("L", picture.size, 0)
    draw = ImageDraw.Draw(layer)
    tall = rng.uniform(30, 44) * unit
    x, y = at
    thick = max(2, round(rng.uniform(3.4, 5.0) * unit))
    for character in text:
        for stroke in _STROKES[character]:
            points = [
                (
                    x + (px + rng.uniform(-0.07, 0.07)) * tall,
                    y + (py + rng.uniform(-0.07, 0.07)) * tall,
                )
                for px, py in stroke
            ]
            draw.line(points, fill=255, width=thick, joint="curve")
        x += tall * 1.45
        y += rng.uniform(-3, 2) * unit
    mark = at[1] + tall * 3.2
    draw.line(
        (at[0] - tall * 3, mark, at[0] + tall * 1.4, mark + rng.uniform(-8, 8) * unit),
        fill=255,
        width=thick,
    )
    soft = blurred(layer, 0.7 * unit)
    broken = tone(grain(rng, picture.size, 2 * unit), lambda v: 90 + v * 1.1)
    worn = Image.composite(soft, Image.new("L", picture.size, 0), broken)
    lead = rng.choice(((48, 46, 50), (48, 46, 50), (150, 34, 30), (30, 52, 130)))
    picture.paste(lead, mask=tone(worn, lambda v: v * 0.78))


def _put(
    picture: Image.Image, thing: Image.Image, at: tuple[float, float], angle: float, unit: float
) -> None:
    """Lay a thing on the surface, with the shadow it throws."""
    turned = thing.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    x, y = round(at[0] - turned.width / 2), round(at[1] - turned.height / 2)
    pad = round(16 * unit)
    shade = Image.new("L", (turned.width + 2 * pad, turned.height + 2 * pad), 0)
    shade.paste(turned.getchannel("A"), (pad, pad))
    shade = tone(blurred(shade, 6 * unit), lambda v: v * 0.6)
    picture.paste((18, 16, 14), (x - pad + round(7 * unit), y - pad + round(9 * unit)), shade)
    picture.paste(turned.convert("RGB"), (x, y), turned.getchannel("A"))
