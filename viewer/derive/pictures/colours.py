"""Convert a decoded picture to sRGB, from whatever its file says that its numbers mean.

Recognised and converted with arithmetic of our own: sRGB (nothing to do), Display P3 (display_p3),
and the HDR colours of phones, PQ and HLG. Any other ICC profile goes, stripped to its colours
(icc), to LittleCMS, in the sandbox as all that strangers sent.
"""

import functools
import io
import math
import struct
from collections.abc import Callable, Sequence
from typing import BinaryIO

from PIL import Image, ImageCms, ImageFilter

from viewer.derive.kinds.sniff import Kind
from viewer.derive.pictures import boxes, icc
from viewer.derive.pictures.display_p3 import is_display_p3, p3_to_srgb

_BAND = 256  # rows converted at a time: a second copy of 100 megapixels would burst the child

Convert = Callable[[Image.Image], Image.Image]  # of a band, from RGB or CMYK to RGB in sRGB

# As numbered in ITU-T H.273.
_BT709, _BT2020, _P3 = 1, 9, 12
_PQ, _HLG = 16, 18
_UNSAID = (None, 2)

# From linear light of these primaries to that of sRGB.
_MATRICES = {
    _BT709: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    _BT2020: (
        (1.66049, -0.58764, -0.07285),
        (-0.12455, 1.13290, -0.00835),
        (-0.01815, -0.10058, 1.11873),
    ),
    _P3: (
        (1.22494, -0.22494, 0.0),
        (-0.04206, 1.04206, 0.0),
        (-0.01964, -0.07864, 1.09827),
    ),
}
_WHITE = 203.0  # candela a square metre: the white of paper in HDR (ITU-R BT.2408)
_ROOM = 5.0  # times as light is what we still tell apart: about the 1,000 candela of phones
_KNEE = 0.75  # what is lighter is pressed together, so that lamps and skies keep their shape


class Colours:
    """What is to be done to a picture's numbers."""

    def __init__(
        self, convert: Convert | None = None, *, mode: str = "RGB", is_everywhere: bool = True
    ) -> None:
        self._convert = convert if mode != "CMYK" else None
        self._from_cmyk = convert if mode == "CMYK" else None
        self.is_everywhere = is_everywhere  # browsers agree on how the original looks

    def as_rgb(self, band: Image.Image) -> Image.Image:
        """The band in RGB; of CMYK by its profile, of anything else with convert() still due."""
        if band.mode == "CMYK" and self._from_cmyk is not None:
            return self._from_cmyk(band)
        return band.convert("RGB")

    def convert(self, picture: Image.Image) -> None:
        """Convert from RGB in place, in bands."""
        if self._convert is None:
            return
        for top in range(0, picture.height, _BAND):
            rows = (0, top, picture.width, min(picture.height, top + _BAND))
            picture.paste(self._convert(picture.crop(rows)), (0, top))


def read_colours(source: BinaryIO, kind: Kind, image: Image.Image) -> Colours:
    """What the file says of its colours. `image`: the same, opened."""
    primaries, transfer = _coded(source, kind)
    if transfer in (_PQ, _HLG):
        return Colours(_by_numbers(primaries or _BT2020, transfer), is_everywhere=False)
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        return Colours(by_profile(profile, image.mode), mode=image.mode)
    if primaries in (_BT2020, _P3):
        return Colours(_by_numbers(primaries, transfer))
    return Colours()


def _coded(source: BinaryIO, kind: Kind) -> tuple[int | None, int | None]:
    """Primaries and transfer function by number, where the file has them so."""
    if kind.mime_type in ("image/heic", "image/heif", "image/avif"):
        properties = boxes.read_properties(source)
        return properties.primaries, properties.transfer
    if kind.mime_type == "image/png":
        return _cicp(source)
    return None, None


def _cicp(source: BinaryIO) -> tuple[int | None, int | None]:
    source.seek(8)
    while len(head := source.read(8)) == 8:
        size, name = struct.unpack(">I4s", head)
        if name == b"cICP" and size == 4:
            primaries, transfer = source.read(2)
            return primaries, transfer
        if name in (b"IDAT", b"IEND"):
            break
        source.seek(size + 4, 1)
    return None, None


# --- ICC profiles ----------------------------------------------------------------------------


def by_profile(profile: bytes, mode: str) -> Convert | None:
    """How to convert from this profile; None where it is sRGB, broken, or of other colours."""
    if is_display_p3(profile):
        return _filtered(p3_to_srgb())
    if icc.is_srgb(profile):
        return None
    space = {"CMYK": b"CMYK", "L": b"GRAY", "LA": b"GRAY", "1": b"GRAY"}.get(mode, b"RGB ")
    cleaned = icc.cleaned(profile)
    if cleaned is None or cleaned[16:20] != space:
        return None
    into = {b"CMYK": "CMYK", b"GRAY": "L"}.get(space, "RGB")
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(cleaned)), _srgb(), into, "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION if into == "CMYK" else ImageCms.Flags.NONE,
        )  # fmt: skip
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # a profile that cannot be used costs no picture

    def convert(band: Image.Image) -> Image.Image:
        seen = band.getchannel(0) if into == "L" else band
        return transform.apply(seen)

    return convert


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _filtered(table: ImageFilter.Color3DLUT) -> Convert:
    return lambda band: band.filter(table)


# --- Colours by number -------------------------------------------------------------------------


def _by_numbers(primaries: int, transfer: int | None) -> Convert:
    """First each channel by a table of its own, to a curve like sRGB's; then all three together."""
    table = _table(primaries if primaries in _MATRICES else _BT709, transfer)
    light = _LIGHT.get(transfer or 0)
    if light is None:
        return lambda band: band.filter(table)
    curve = [round(255 * _curved(light(step / 255) / _ROOM)) for step in range(256)]
    return lambda band: band.point(curve * 3).filter(table)


@functools.cache
def _table(primaries: int, transfer: int | None) -> ImageFilter.Color3DLUT:
    matrix, is_hdr = _MATRICES[primaries], transfer in _LIGHT
    room = _ROOM if is_hdr else 1.0

    def convert(r: float, g: float, b: float) -> tuple[float, float, float]:
        seen = [_linear(value) * room for value in (r, g, b)]
        if transfer == _HLG:
            seen = _on_display(seen)
        seen = [sum(k * v for k, v in zip(row, seen, strict=True)) for row in matrix]
        if is_hdr:
            lightest = max(*seen, 1e-6)
            seen = [value * _pressed(lightest) / lightest for value in seen]
        return _curved(seen[0]), _curved(seen[1]), _curved(seen[2])

    return ImageFilter.Color3DLUT.generate(33, convert)


def _pressed(light: float) -> float:
    """Light above the knee finds room below white."""
    if light <= _KNEE:
        return light
    return 1 - (1 - _KNEE) * math.exp(-(light - _KNEE) / (1 - _KNEE))


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _curved(value: float) -> float:
    value = min(1.0, max(0.0, value))
    return value * 12.92 if value <= 0.0031308 else 1.055 * float(value ** (1 / 2.4)) - 0.055


def _from_pq(value: float) -> float:
    """SMPTE ST 2084, with the white of paper as 1."""
    power = value ** (1 / 78.84375)
    light = max(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
    return float(light ** (1 / 0.1593017578125)) * 10_000 / _WHITE


def _from_hlg(value: float) -> float:
    """ITU-R BT.2100: the light of the scene, with the most there can be as _ROOM."""
    if value <= 0.5:
        return value * value / 3 * _ROOM
    return (math.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12 * _ROOM


def _on_display(scene: Sequence[float]) -> list[float]:
    """What a display of 1,000 candela makes of it, with the white of paper as 1."""
    seen = [value / _ROOM for value in scene]
    luminance = 0.2627 * seen[0] + 0.6780 * seen[1] + 0.0593 * seen[2]
    gain = luminance**0.2 * 1000 / _WHITE if luminance > 0 else 0
    return [value * gain for value in seen]


_LIGHT: dict[int, Callable[[float], float]] = {_PQ: _from_pq, _HLG: _from_hlg}
