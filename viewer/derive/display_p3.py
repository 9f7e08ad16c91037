"""Display P3, in which iPhones photograph: recognise it, and convert it to sRGB.

That one profile is recognised by its primaries and converted with arithmetic of our own; any other
is dropped and the photo read as sRGB. Handing a stranger's profile to a colour engine, ours or the
browser's, is not worth the shade.
"""

import functools
import struct

from PIL import Image, ImageFilter

_BAND = 256  # rows converted at a time

_DISPLAY_P3 = {  # the primaries as an ICC profile holds them
    b"rXYZ": (0.5151, 0.2412, -0.0011),
    b"gXYZ": (0.2920, 0.6922, 0.0419),
    b"bXYZ": (0.1571, 0.0666, 0.7841),
}


def is_display_p3(profile: bytes) -> bool:
    found = {}
    count = int.from_bytes(profile[128:132], "big")
    for at in range(132, 132 + 12 * min(count, 50), 12):
        name, offset = profile[at : at + 4], int.from_bytes(profile[at + 4 : at + 8], "big")
        value = profile[offset + 8 : offset + 20]
        if name in _DISPLAY_P3 and len(value) == 12:
            found[name] = [part / 65536 for part in struct.unpack(">3i", value)]
    return found.keys() == _DISPLAY_P3.keys() and all(
        abs(is_ - should) < 0.002
        for name, primary in _DISPLAY_P3.items()
        for is_, should in zip(found[name], primary, strict=True)
    )


def convert_to_srgb(picture: Image.Image) -> None:
    """Convert in place, and in bands: a second copy of 100 megapixels would burst the child."""
    lut = p3_to_srgb()
    for top in range(0, picture.height, _BAND):
        rows = (0, top, picture.width, min(picture.height, top + _BAND))
        picture.paste(picture.crop(rows).filter(lut), (0, top))


@functools.cache  # 4 ms
def p3_to_srgb() -> ImageFilter.Color3DLUT:
    """Both share one tone curve, so this map is smooth and 17 steps a side are plenty."""
    return ImageFilter.Color3DLUT.generate(17, _one_p3_to_srgb)


def _one_p3_to_srgb(r: float, g: float, b: float) -> tuple[float, float, float]:
    r, g, b = _linear(r), _linear(g), _linear(b)
    return (
        _curved(1.22494 * r - 0.22494 * g),
        _curved(-0.04206 * r + 1.04206 * g),
        _curved(-0.01964 * r - 0.07864 * g + 1.09827 * b),
    )


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _curved(value: float) -> float:
    value = min(1.0, max(0.0, value))
    return value * 12.92 if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
