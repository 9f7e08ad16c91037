"""Photos of cracked foundations, drawn by chance that can be repeated.

`crack_photo` gives the same picture for the same seed; `encode` turns it into the file a phone
would have sent.
"""

import io
import math
import random
from typing import Literal

import pillow_heif
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from viewer.demo import cracks, props, surfaces
from viewer.demo.texture import Size, blotches, blurred, grain, lay, tone

KINDS = surfaces.KINDS
LANDSCAPE: Size = (1280, 960)  # about what carriers let through
PORTRAIT: Size = (960, 1280)
TWELVE_MEGAPIXELS: Size = (4000, 3000)

Format = Literal["JPEG", "PNG", "HEIC", "WEBP"]

# How the stored pixels must be turned so that a viewer who obeys the tag sees them upright.
_TURN_FOR_ORIENTATION = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
_CAMERAS = (
    ("Apple", "iPhone 13"),
    ("Apple", "iPhone 15 Pro"),
    ("samsung", "SM-S911U"),
    ("Google", "Pixel 8"),
    ("motorola", "moto g power"),
)
_EXIF_ORIENTATION, _EXIF_MAKE, _EXIF_MODEL, _EXIF_TIME = 0x0112, 0x010F, 0x0110, 0x0132


def crack_photo(seed: int, *, size: Size = LANDSCAPE, kind: str = "poured") -> Image.Image:
    """A photo of one crack, as a worried homeowner takes it. `kind` is one of KINDS."""
    rng = random.Random(f"{kind}-{seed}")
    unit = max(size) / 1600
    # More wall than the photo shows, so that it can be taken at an angle.
    wall = (round(size[0] * 1.1), round(size[1] * 1.1))

    surface = surfaces.build(kind, rng, wall, unit)
    width = cracks.WIDTHS[rng.choice(("hairline", "narrow", "narrow", "medium", "medium", "wide"))]
    crack = cracks.run(rng, surface, kind, unit, width)
    grey = cracks.carve(surface.grey, crack, rng, unit)
    picture = ImageChops.multiply(Image.merge("RGB", (grey, grey, grey)), surface.tint)
    picture = tone(picture, lambda v: v * 1.42)
    picture = _weather(picture, crack, kind, rng, unit)
    if kind != "slab" and rng.random() < 0.3:
        picture = _meet_the_floor(picture, rng, unit)
    _lay_beside(picture, crack, rng, unit)

    picture = _take_at_an_angle(picture, size, kind, rng)
    return _develop(picture, rng, unit)


def encode(
    picture: Image.Image, format: Format = "JPEG", orientation: int = 1, *, seed: int = 0
) -> bytes:
    """The file a phone makes of this picture.

    With an `orientation` other than 1 the pixels of a JPEG or WebP are stored turned, and only a
    viewer who obeys the tag shows them upright. No place is ever written into the file.
    """
    if format in ("PNG", "HEIC"):  # these are sent upright: the one has no tag, the other its own
        orientation = 1
    turn = _TURN_FOR_ORIENTATION.get(orientation)
    stored = picture.transpose(turn) if turn is not None else picture
    exif = _camera_exif(orientation, seed)
    out = io.BytesIO()
    match format:
        case "JPEG":
            stored.save(out, "JPEG", quality=84, exif=exif)
        case "PNG":
            stored.save(out, "PNG", compress_level=1)
        case "WEBP":
            stored.save(out, "WEBP", quality=78, method=0, exif=exif)
        case "HEIC":
            heif = pillow_heif.from_pillow(stored)
            # x265's own default takes ten times as long for a demo nobody grades by the byte.
            heif.save(out, quality=55, exif=exif, enc_params={"preset": "ultrafast"})
    return out.getvalue()


def _camera_exif(orientation: int, seed: int) -> bytes:
    rng = random.Random(f"camera-{seed}")
    exif = Image.Exif()
    exif[_EXIF_MAKE], exif[_EXIF_MODEL] = rng.choice(_CAMERAS)
    exif[_EXIF_TIME] = (
        f"2025:{rng.randint(1, 12):02}:{rng.randint(1, 28):02} 1{rng.randint(0, 9)}:24:07"
    )
    exif[_EXIF_ORIENTATION] = orientation
    return exif.tobytes()


def _weather(
    picture: Image.Image, crack: cracks.Crack, kind: str, rng: random.Random, unit: float
) -> Image.Image:
    """What happened to the crack since: salts, rust, water. Not to all of them."""
    if rng.random() < 0.42:
        picture = cracks.effloresce(picture, crack, rng, unit)
    if kind in ("poured", "block") and rng.random() < 0.25:
        picture = cracks.rust(picture, crack, rng, unit)
    if kind != "brick" and rng.random() < 0.5:
        picture = cracks.dampen(picture, crack, rng, unit)
    return picture


def _meet_the_floor(picture: Image.Image, rng: random.Random, unit: float) -> Image.Image:
    """The foot of the wall: floor, shadow in the corner, a little dirt."""
    w, h = picture.size
    y = round(h * rng.uniform(0.76, 0.86))
    floor = surfaces.build("slab", rng, (w, h - y), unit)
    grey = Image.merge("RGB", (floor.grey, floor.grey, floor.grey))
    strip = ImageChops.multiply(grey, floor.tint)
    strip = tone(strip, lambda v: v * 1.2)
    picture.paste(strip, (0, y))
    shadow = Image.new("L", (w // 4, h // 4), 255)
    draw = ImageDraw.Draw(shadow)
    draw.line((0, y / 4, w / 4, y / 4), fill=70, width=max(1, round(2 * unit)))
    soft = blurred(shadow, 0.7 * unit)
    wide = blurred(shadow, 9 * unit)
    both = ImageChops.multiply(soft, wide)
    both = lay(both, blotches(rng, both.size, (30 * unit, 10 * unit)), 0.12).resize(picture.size)
    return ImageChops.multiply(picture, Image.merge("RGB", (both, both, both)))


def _lay_beside(picture: Image.Image, crack: cracks.Crack, rng: random.Random, unit: float) -> None:
    """Something for scale, in about half of the photos."""
    w, h = picture.size
    inside = [p for p in crack.spine if 0.25 * h < p[1] < 0.7 * h and 0.2 * w < p[0] < 0.8 * w]
    if not inside:
        return
    x, y = rng.choice(inside)
    side = rng.choice((-1, 1))
    chance = rng.random()
    if chance < 0.2:
        props.tape(picture, rng, unit, (x + side * 330 * unit, y))
    elif chance < 0.34:
        props.coin(picture, rng, unit, (x + side * 105 * unit, y))
    elif chance < 0.5:
        text = f"{rng.randint(1, 12)}/{rng.randint(1, 28)}"
        props.pencil_date(picture, rng, unit, (x + 60 * unit, y), text)


def _take_at_an_angle(
    picture: Image.Image, size: Size, kind: str, rng: random.Random
) -> Image.Image:
    """Nobody holds a phone square to the wall, least of all to the floor."""
    w, h = picture.size
    lean = rng.uniform(-0.05, 0.05)
    near = 0.14 if kind == "slab" else 0.0
    jitter = [rng.uniform(0.0, 0.045) for _ in range(8)]
    corners = (
        ((jitter[0] + max(0.0, lean)) * w, jitter[1] * h),
        ((1 - jitter[2] - max(0.0, -lean)) * w, jitter[3] * h),
        ((1 - jitter[4] - near) * w, (1 - jitter[5]) * h),
        ((jitter[6] + near) * w, (1 - jitter[7]) * h),
    )
    upper_left, upper_right, lower_right, lower_left = corners
    quad = (*upper_left, *lower_left, *lower_right, *upper_right)
    return picture.transform(size, Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)


def _develop(picture: Image.Image, rng: random.Random, unit: float) -> Image.Image:
    """Light, lens and sensor: flash or bulb, a soft focus, grain in the dark."""
    picture = ImageChops.multiply(picture, _light(picture.size, rng))
    if rng.random() < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 1.8) * unit))
    speckle = grain(rng, picture.size, 1.5 * unit)
    strength = rng.uniform(0.05, 0.13)
    noise = tone(speckle, lambda v: 128 + (v - 128) * strength)
    red, green, blue = picture.split()
    picture = Image.merge(
        "RGB",
        (
            ImageChops.add(red, noise, 1, -128),
            ImageChops.add(green, noise, 1, -128),
            ImageChops.add(blue, ImageChops.offset(noise, 5, 3), 1, -128),
        ),
    )
    lift = rng.uniform(0.9, 1.12)
    return tone(picture, lambda v: 255 * (v / 255) ** (1 / lift) * 1.04 - 3)


def _light(size: Size, rng: random.Random) -> Image.Image:
    """A flash, a bare bulb, a window or a work lamp, as a picture to multiply with."""
    colour, floor, reach = rng.choice(
        (
            ((255, 252, 244), 0.34, 0.85),  # flash in a dark cellar
            ((255, 236, 204), 0.5, 1.0),  # bulb
            ((232, 241, 255), 0.66, 1.2),  # daylight from a window
            ((250, 252, 246), 0.6, 1.1),  # LED work lamp
        )
    )
    w, h = 36, max(8, round(36 * size[1] / size[0]))
    x0, y0 = rng.uniform(0.25, 0.75) * w, rng.uniform(0.2, 0.65) * h
    slope_x, slope_y = rng.uniform(-0.2, 0.2), rng.uniform(-0.25, 0.05)
    levels = bytearray()
    for y in range(h):
        for x in range(w):
            far = math.hypot(x - x0, y - y0) / (w * reach)
            level = floor + (1 - floor) * math.exp(-2.4 * far * far)
            level *= 1 + slope_x * (x / w - 0.5) + slope_y * (y / h - 0.5)
            levels += bytes(min(255, max(0, round(level * c))) for c in colour)
    return Image.frombytes("RGB", (w, h), bytes(levels)).resize(size, Image.Resampling.BICUBIC)
