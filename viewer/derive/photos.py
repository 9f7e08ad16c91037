"""Make a photo's thumbnail, preview, blurred placeholder and full-size JPEG.

The copies carry no colour profile: Display P3 is converted, any other dropped (display_p3).
"""

import base64
import contextlib
import importlib
import io
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from PIL import Image, ImageFile

from viewer.derive.display_p3 import convert_to_srgb, is_display_p3, p3_to_srgb
from viewer.derive.sniff import Kind
from viewer.derive.types import (
    PREVIEW_SIDE,
    THUMBNAIL_SIDE,
    Broken,
    Derived,
    Limits,
    Unreadable,
)

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
_BROKEN = (
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


def make_derivatives(source: BinaryIO, kind: Kind, into: Path, limits: Limits) -> Iterator[Derived]:
    """Yield size, thumbnail, preview, placeholder; then the full-size JPEG where it is needed."""
    _prepare(kind, limits)
    is_incomplete = False
    try:
        photo = _decode(source, kind)
        picture = _reduced(photo)
    except _BROKEN:
        photo, picture = _decode_what_is_there(source, kind)
        is_incomplete = True
    width, height = photo.shown_size
    thumbnail, preview, placeholder = save_copies(picture, into)
    derived = Derived(
        mime_type=kind.mime_type,
        media_type="photo",
        width=width,
        height=height,
        thumbnail=thumbnail,
        preview=preview,
        placeholder=placeholder,
        is_incomplete=is_incomplete,
    )
    yield derived
    if not kind.browser_plays and max(width, height) > PREVIEW_SIDE:
        del picture
        yield _with_full(derived, photo, into)


def whole(source: BinaryIO, kind: Kind, limits: Limits) -> Image.Image:
    """The first frame at its full size, upright, in sRGB, with nothing beside it.

    Raises Unreadable.
    """
    with opened(source, kind, limits) as image:
        image.load()
        picture = _on_white(image, *_range(image))
        orientation = image.getexif().get(_ORIENTATION, 1)  # asked after decoding, as below
        profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and is_display_p3(profile):
        picture = picture.filter(p3_to_srgb())
    turn = _TURNS.get(orientation)
    picture = picture.transpose(turn) if turn is not None else picture
    picture.info.clear()
    return picture


@contextlib.contextmanager
def opened(source: BinaryIO, kind: Kind, limits: Limits) -> Iterator[Image.Image]:
    """The picture by the one decoder it needs. Whatever is wrong with it is Unreadable."""
    _prepare(kind, limits)
    source.seek(0)
    try:
        with Image.open(source, formats=[_FORMATS[kind.mime_type]]) as image:
            yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, *_BROKEN) as broken:
        raise Unreadable("The picture is damaged, incomplete or too large.") from broken


def _prepare(kind: Kind, limits: Limits) -> None:
    Image.MAX_IMAGE_PIXELS = limits.pixels  # asked at the header, before anything is decoded
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    load_decoder(kind)


def load_decoder(kind: Kind) -> None:
    """Import the decoder of this kind of photo. Decodes nothing."""
    name = _FORMATS[kind.mime_type]
    if name == "HEIF":
        _know_heif()
    elif name in _PLUGINS:
        _know(name)


def _know(name: str) -> None:
    importlib.import_module(f"PIL.{_PLUGINS[name]}")


def save_copies(picture: Image.Image, into: Path) -> tuple[Path, Path, str]:
    """Thumbnail, preview and placeholder of an upright RGB picture; never larger than it."""
    preview, thumbnail = into / "preview.jpg", into / "thumbnail.jpg"
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    picture.info.clear()  # nothing of the sender's goes into a copy: no place, no device
    # Not progressive: the same pixels, 5 % more bytes, but 8 ms instead of 47. Nobody sees it grow
    # either: until it is there, the lightbox shows the thumbnail.
    preview.write_bytes(_jpeg(picture, quality=82))
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    thumbnail.write_bytes(_jpeg(picture, quality=80, progressive=True, optimize=True))
    return thumbnail, preview, _placeholder(picture)


def _with_full(derived: Derived, photo: "_Photo", into: Path) -> Derived:
    """Every pixel as a JPEG: a hairline crack is a pixel or two wide.

    After the others: whatever goes wrong here, the smaller copies are there.
    """
    full = into / "full.jpg"
    try:
        picture = _all_of(photo)
        picture.info.clear()
        # Not optimized: that would hold all of it in memory once more.
        full.write_bytes(_jpeg(picture, quality=90))
    except _BROKEN as broken:
        if isinstance(broken, OSError) and broken.errno is not None:
            raise  # the disk's trouble, not the picture's
        return replace(derived, problem="The full-size picture could not be made.")
    return replace(derived, full=full)


def _jpeg(picture: Image.Image, quality: int, **options: bool) -> bytes:
    # Not saved straight to disk: where the disk is full in the middle of a write, Pillow
    # takes the half that was written for the whole and says nothing.
    packed = io.BytesIO()
    picture.save(packed, "JPEG", quality=quality, **options)
    return packed.getvalue()


def _placeholder(picture: Image.Image) -> str:
    """A blur small enough to travel within the page."""
    _know("WEBP")
    for side in (24, 16, 8):  # noise is hard to pack: then fewer dots
        small = picture.copy()
        small.thumbnail((side, side))
        packed = io.BytesIO()
        small.save(packed, "WEBP", quality=30, method=6)
        if packed.tell() <= 420:
            break
    return "data:image/webp;base64," + base64.b64encode(packed.getvalue()).decode()


def _know_heif() -> None:
    import pillow_heif  # here, because only HEIC needs its 90 ms

    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = False
    pillow_heif.register_heif_opener()


def _decode_what_is_there(source: BinaryIO, kind: Kind) -> tuple["_Photo", Image.Image]:
    """A photo cut off on its way shows its upper part; one with nothing in it is Broken."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        photo = _decode(source, kind)
        picture = _reduced(photo)
    except _BROKEN as broken:
        raise Broken("The picture is damaged or incomplete.") from broken
    if all(band.getextrema()[0] == band.getextrema()[1] for band in picture.split()):
        raise Broken("The picture is incomplete: only its description arrived.")
    return photo, picture


@dataclass(frozen=True, slots=True)
class _Photo:
    """The first frame as its decoder left it, and what is still to be done to it."""

    image: Image.Image  # loaded
    size: tuple[int, int]  # what it says; image is smaller if a JPEG was decoded at a fraction
    orientation: int
    profile: object
    is_kept: bool  # it is needed once more, so that no copy is made in place

    @property
    def shown_size(self) -> tuple[int, int]:
        return self.size[::-1] if self.orientation in _SIDEWAYS else self.size

    def upright(self, picture: Image.Image) -> Image.Image:
        """This picture of it in sRGB, in place, and turned."""
        if isinstance(self.profile, bytes) and is_display_p3(self.profile):
            convert_to_srgb(picture)
        turn = _TURNS.get(self.orientation)
        return picture if turn is None else picture.transpose(turn)


def _decode(source: BinaryIO, kind: Kind) -> _Photo:
    source.seek(0)
    try:
        with Image.open(source, formats=[_FORMATS[kind.mime_type]]) as image:
            size = width, height = image.size
            scale = min(1.0, 1.5 * PREVIEW_SIDE / max(size))
            # JPEG only: decodes at a half, quarter or eighth where that is still enough.
            image.draft(None, (max(1, round(width * scale)), max(1, round(height * scale))))
            image.load()
            # Asked after decoding: TIFF and HEIC are turned by their decoders, which then
            # take the orientation out of the description.
            orientation = image.getexif().get(_ORIENTATION, 1)
            profile = image.info.get("icc_profile")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as bomb:
        megapixels = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise Unreadable(f"The picture is larger than {megapixels} megapixels.") from bomb
    is_kept = not kind.browser_plays and max(size) > PREVIEW_SIDE
    return _Photo(image, size, orientation, profile, is_kept)


_ORIENTATION = 0x0112  # in EXIF: where the camera's top is
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = range(5, 9)

_BAND = 256  # rows of the reduced picture made at a time


def _reduced(photo: _Photo) -> Image.Image:
    """The picture no larger than a preview, upright, in sRGB, on white."""
    image = photo.image
    # By whole factors first, to at most twice the preview.
    picture = _as_rgb(image, max(1, max(image.size) // (2 * PREVIEW_SIDE)))
    if picture is image and photo.is_kept:
        picture = image.copy()
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return photo.upright(picture)


def _all_of(photo: _Photo) -> Image.Image:
    return photo.upright(_as_rgb(photo.image, 1))


def _as_rgb(image: Image.Image, factor: int) -> Image.Image:
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
        reduced.paste(_on_white(image.crop(rows), low, high).reduce(factor), (0, top))
    return reduced


def _range(image: Image.Image) -> tuple[float, float]:
    """The darkest and lightest value of a picture with more than 8 bits."""
    if image.mode.startswith("I;16"):
        return 0, 65535
    if image.mode in {"I", "F"}:
        low, high = cast(tuple[float, float], image.getextrema())
        return low, max(high, low + 1e-6)
    return 0, 255


def _on_white(band: Image.Image, low: float, high: float) -> Image.Image:
    if band.mode.startswith("I") or band.mode == "F":
        scale = 255 / (high - low)
        return band.convert("F").point(lambda v: v * scale - low * scale).convert("RGB")
    if not band.has_transparency_data:
        return band.convert("RGB")
    band = band.convert("RGBA")
    white = Image.new("RGB", band.size, "white")
    white.paste(band, mask=band.getchannel("A"))
    return white
