"""Display P3, in which iPhones photograph: recognise it, and convert it to sRGB.

By arithmetic of our own: it is the one profile that comes every day, and a table takes a tenth of
the time that a colour engine does.
"""

import functools

from PIL import ImageFilter

from viewer.derive.pictures import icc

_DISPLAY_P3 = {  # the primaries as an ICC profile holds them
    b"rXYZ": (0.5151, 0.2412, -0.0011),
    b"gXYZ": (0.2920, 0.6922, 0.0419),
    b"bXYZ": (0.1571, 0.0666, 0.7841),
}


def is_display_p3(profile: bytes) -> bool:
    return icc.has_primaries(profile, _DISPLAY_P3)


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
