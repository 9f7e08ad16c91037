"""Decode a photo by the one decoder it needs, also where parts of its file are broken."""

import contextlib
import importlib
import io
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from PIL import Image, ImageFile

from viewer.derive.kinds.sniff import Kind
from viewer.derive.pictures import mend
from viewer.derive.pictures.colours import Colours, read_colours
from viewer.derive.pictures.orientation import Orientation, read_orientation
from viewer.derive.pictures.shapes import preview_box, thumbnail_crop
from viewer.derive.types import PREVIEW_SIDE, Broken, Limits, Unreadable

# What sniff() saw decides the one decoder that is tried; Pillow knows forty more.
_FORMATS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/avif": "AVIF",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/heic": "HEIF",
    "image/heif": "HEIF",
}

# Named a format that it has not loaded, Pillow loads all forty: 40 ms for each photo.
_PLUGINS = {
    "WEBP": "WebPImagePlugin",  # of each placeholder too
    "AVIF": "AvifImagePlugin",
    "TIFF": "TiffImagePlugin",
}

# What Pillow's parsers raise at broken bytes, as found by feeding them such.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    struct.error,
    OverflowError,
    ZeroDivisionError,
    RuntimeError,
)

_CLAIMED = 4  # times the limit: what a JPEG may claim, because it is decoded at a fraction
_FOR_COEFFICIENTS = 0.6  # of the memory: a progressive JPEG is held whole before it is reduced
_BAND = 256  # rows of the reduced picture made at a time
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Photo:
    """The first frame as its decoder left it, and what is still to be done to it."""

    image: Image.Image  # loaded
    size: tuple[int, int]  # what it says; image is smaller if a JPEG was decoded at a fraction
    orientation: Orientation
    colours: Colours
    is_kept: bool  # it is needed once more, so that no copy is made in place
    is_incomplete: bool = False
    is_mended: bool = False  # what its decoder refused, browsers may show in part, or not at all

    @property
    def shown_size(self) -> tuple[int, int]:
        return self.size[::-1] if self.orientation.is_sideways else self.size

    @property
    def looks_alike(self) -> bool:
        """Whether every browser that shows the original shows it as we do."""
        everywhere = self.orientation.is_everywhere and self.colours.is_everywhere
        return everywhere and not self.is_mended

    def reduced(self) -> Image.Image:
        """The picture no larger than a preview, upright, in sRGB, on white."""
        box = preview_box(*self.size)
        image = self.image
        # By whole factors first, to at most twice the preview.
        picture = self._as_rgb(image, max(1, max(image.size) // (2 * max(box))))
        if picture is image and self.is_kept:
            picture = image.copy()
        picture.thumbnail(box)
        return self._upright(picture)

    def middle(self) -> Image.Image | None:
        """What the thumbnail shows of a strip; None if it shows all of the picture."""
        crop = thumbnail_crop(*self.image.size)
        if crop is None:
            return None
        return self._upright(self._as_rgb(self.image.crop(crop), 1))

    def whole(self) -> Image.Image:
        """Every pixel, upright, in sRGB, on white."""
        return self._upright(self._as_rgb(self.image, 1))

    def _upright(self, picture: Image.Image) -> Image.Image:
        """This picture of it in sRGB, in place, and turned."""
        self.colours.convert(picture)
        return turn(picture, self.orientation)

    def _as_rgb(self, image: Image.Image, factor: int) -> Image.Image:
        """As RGB on white, reduced; the very image if there is nothing to do.

        In bands, because a second and third full copy of 100 megapixels (as RGBA, as RGB) would
        burst the child's memory.
        """
        if image.mode == "RGB" and not image.has_transparency_data:  # nearly all photos
            return image if factor == 1 else image.reduce(factor)
        width, height = image.size
        low, high = _range(image)
        reduced = Image.new("RGB", (-(-width // factor), -(-height // factor)))
        for top in range(0, reduced.height, _BAND):
            rows = (0, top * factor, width, min(height, (top + _BAND) * factor))
            band = self._on_white(image.crop(rows), low, high)
            reduced.paste(band.reduce(factor), (0, top))
        return reduced

    def _on_white(self, band: Image.Image, low: float, high: float) -> Image.Image:
        if band.mode.startswith("I") or band.mode == "F":
            scale = 255 / (high - low)
            return band.convert("F").point(lambda v: v * scale - low * scale).convert("RGB")
        if not band.has_transparency_data:
            return self.colours.as_rgb(band)
        band = band.convert("RGBA")
        white = Image.new("RGB", band.size, "white")
        white.paste(band, mask=band.getchannel("A"))
        return white


def turn(picture: Image.Image, orientation: Orientation) -> Image.Image:
    how = _TURNS.get(orientation.value)
    return picture if how is None else picture.transpose(how)


def _range(image: Image.Image) -> tuple[float, float]:
    """The darkest and lightest value of a picture with more than 8 bits."""
    if image.mode.startswith("I;16"):
        return 0, 65535
    if image.mode in {"I", "F"}:
        low, high = cast(tuple[float, float], image.getextrema())
        return low, max(high, low + 1e-6)
    return 0, 255


def decode(
    source: BinaryIO, kind: Kind, limits: Limits, *, is_whole: bool = False
) -> tuple[Photo, Image.Image]:
    """The photo and its reduced picture; with `is_whole` every pixel of it instead.

    One that was cut off on its way shows its upper part. Raises Unreadable, and Broken if there is
    nothing in it.
    """
    _prepare(kind, limits)
    try:
        photo = _decode(source, kind, limits, is_whole=is_whole)
        return photo, photo.whole() if is_whole else photo.reduced()
    except BROKEN:
        return _rescued(source, kind, limits, is_whole=is_whole)


@contextlib.contextmanager
def opened(source: BinaryIO, kind: Kind, limits: Limits) -> Iterator[Image.Image]:
    """The picture by the one decoder it needs. Whatever is wrong with it is Unreadable."""
    _prepare(kind, limits)
    source.seek(0)
    try:
        with _open(source, kind) as image:
            yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, *BROKEN) as broken:
        raise Unreadable("The picture is damaged, incomplete or too large.") from broken


def load_decoder(kind: Kind) -> None:
    """Import the decoder of this kind of photo. Decodes nothing."""
    name = _FORMATS[kind.mime_type]
    if name == "HEIF":
        _know_heif()
    elif name in _PLUGINS:
        know(name)


def know(name: str) -> None:
    importlib.import_module(f"PIL.{_PLUGINS[name]}")


def _know_heif() -> None:
    import pillow_heif  # here, because only HEIC needs its 90 ms

    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = False
    pillow_heif.register_heif_opener()


def _prepare(kind: Kind, limits: Limits) -> None:
    # Asked at the header, before anything is decoded.
    is_reduced = kind.mime_type == "image/jpeg"
    Image.MAX_IMAGE_PIXELS = limits.pixels * (_CLAIMED if is_reduced else 1)
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    load_decoder(kind)


def _open(source: BinaryIO, kind: Kind) -> Image.Image:
    image = Image.open(source, formats=[_FORMATS[kind.mime_type]])
    # Else Pillow turns a TIFF by them, as no browser and no camera does.
    image.info.pop("xmp", None)
    return image


def _decode(
    source: BinaryIO,
    kind: Kind,
    limits: Limits,
    *,
    is_whole: bool,
    original: BinaryIO | None = None,
) -> Photo:
    """`original`: where orientation and colours are read, if not in the file that is decoded."""
    source.seek(0)
    try:
        with _open(source, kind) as image:
            size = width, height = image.size
            if not is_whole:
                scale = min(1.0, 1.5 * max(preview_box(*size)) / max(size))
                # JPEG only: decodes at a half, quarter or eighth where that is still enough.
                image.draft(None, (max(1, round(width * scale)), max(1, round(height * scale))))
            _check_memory(image, size, limits)
            image.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as bomb:
        raise _too_large((Image.MAX_IMAGE_PIXELS or 0) // 1_000_000) from bomb
    original = original or source
    orientation = read_orientation(original, kind)
    colours = read_colours(original, kind, image)
    is_kept = (
        original is not source
        or not (orientation.is_everywhere and colours.is_everywhere)
        or (not kind.browser_plays and max(size) > PREVIEW_SIDE)
        or thumbnail_crop(*size) is not None
    )
    return Photo(image, size, orientation, colours, is_kept)


def _check_memory(image: Image.Image, size: tuple[int, int], limits: Limits) -> None:
    if image.width * image.height > limits.pixels:
        raise _too_large(limits.pixels // 1_000_000)
    layers = getattr(image, "layer", None)
    if not layers or not image.info.get("progressive"):
        return
    across, high = max(one[1] for one in layers), max(one[2] for one in layers)
    share = sum(one[1] * one[2] for one in layers) / (across * high)
    if size[0] * size[1] * share * 2 > limits.memory_bytes * _FOR_COEFFICIENTS:
        raise Unreadable("The picture is too large to be decoded: it is packed in layers.")


def _too_large(megapixels: int) -> Unreadable:
    return Unreadable(f"The picture is larger than {megapixels} megapixels.")


def _rescued(
    source: BinaryIO, kind: Kind, limits: Limits, *, is_whole: bool
) -> tuple[Photo, Image.Image]:
    """Try again without metadata, then take what there is."""
    source.seek(0)
    content = source.read()
    mended = mend.mended(content, kind)

    def attempt(content: bytes) -> tuple[Photo, Image.Image]:
        file = io.BytesIO(content)
        photo = _decode(file, kind, limits, is_whole=is_whole, original=source)
        return photo, photo.whole() if is_whole else photo.reduced()

    if mended is not None:
        with contextlib.suppress(*BROKEN):
            photo, picture = attempt(mended)
            is_short = kind.mime_type == "image/jpeg" and not mend.is_whole_jpeg(
                mended, lambda variant: attempt(variant)[0].image.tobytes()
            )
            if is_short:
                _check_content(picture)
            return replace(photo, is_incomplete=is_short, is_mended=True), picture
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    for candidate in filter(None, (content, mended, mend.filled_up(content, kind))):
        with contextlib.suppress(*BROKEN):
            photo, picture = attempt(candidate)
            _check_content(picture)
            return replace(photo, is_incomplete=True, is_mended=True), picture
    if mend.is_all_there(content, kind):
        raise Unreadable("We cannot show this kind of picture.")
    raise Broken("The picture is damaged or incomplete.")


def _check_content(picture: Image.Image) -> None:
    if all(band.getextrema()[0] == band.getextrema()[1] for band in picture.split()):
        raise Broken("The picture is incomplete: only its description arrived.")
