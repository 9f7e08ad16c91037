"""Make a photo's thumbnail, preview, blurred placeholder and full-size JPEG.

The copies are upright and in sRGB, and carry no colour profile.
"""

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from viewer.derive.kinds.sniff import Kind
from viewer.derive.pictures import icc
from viewer.derive.pictures.decoding import BROKEN, decode, know, opened, turn
from viewer.derive.pictures.orientation import read_orientation
from viewer.derive.pictures.shapes import THUMBNAIL_BOX, preview_box, thumbnail_crop
from viewer.derive.types import PREVIEW_SIDE, Derived, Limits, Unreadable


def make_derivatives(source: BinaryIO, kind: Kind, into: Path, limits: Limits) -> Iterator[Derived]:
    """Yield size, thumbnail, preview, placeholder; then the full-size JPEG where it is needed.

    That is where browsers do not show the original, or not all of them as the other copies are.
    """
    photo, picture = decode(source, kind, limits)
    width, height = photo.shown_size
    thumbnail, preview, placeholder = save_copies(picture, into, photo.middle())
    derived = Derived(
        mime_type=kind.mime_type,
        media_type="photo",
        width=width,
        height=height,
        thumbnail=thumbnail,
        preview=preview,
        placeholder=placeholder,
        is_incomplete=photo.is_incomplete,
    )
    yield derived
    del picture
    if photo.image.size != photo.size:  # a JPEG, decoded at a fraction
        if not photo.looks_alike:
            del photo
            yield _with_full(derived, lambda: whole(source, kind, limits), into)
    elif not photo.looks_alike or (not kind.browser_plays and max(width, height) > PREVIEW_SIDE):
        yield _with_full(derived, photo.whole, into)


def whole(source: BinaryIO, kind: Kind, limits: Limits) -> Image.Image:
    """The first frame at its full size, upright, in sRGB, with nothing beside it.

    Raises Unreadable.
    """
    _, picture = decode(source, kind, limits, is_whole=True)
    picture.info.clear()
    return picture


def turned(source: BinaryIO, kind: Kind, limits: Limits) -> Image.Image:
    """The first frame upright, in its own colours and with what is transparent, and nothing else.

    Raises Unreadable.
    """
    with opened(source, kind, limits) as image:
        image.load()
        picture = turn(image, read_orientation(source, kind))
        profile = icc.cleaned(image.info.get("icc_profile") or b"")
        kept = {"transparency": image.info.get("transparency"), "icc_profile": profile}
    picture.info = {name: value for name, value in kept.items() if value is not None}
    return picture


def save_copies(
    picture: Image.Image, into: Path, middle: Image.Image | None = None
) -> tuple[Path, Path, str]:
    """Thumbnail, preview and placeholder of an upright RGB picture; never larger than it.

    `middle`: what the thumbnail shows of a strip, if it is there in more detail.
    """
    preview, thumbnail = into / "preview.jpg", into / "thumbnail.jpg"
    picture.thumbnail(preview_box(*picture.size))
    picture.info.clear()  # nothing of the sender's goes into a copy: no place, no device
    # Not progressive: the same pixels, 5 % more bytes, but 8 ms instead of 47. Nobody sees it grow
    # either: until it is there, the lightbox shows the thumbnail.
    preview.write_bytes(_jpeg(picture, quality=82))
    crop = thumbnail_crop(*picture.size)
    if middle is not None or crop is not None:
        picture = middle or picture.crop(crop)
        picture.info.clear()
    picture.thumbnail(THUMBNAIL_BOX)
    thumbnail.write_bytes(_jpeg(picture, quality=80, progressive=True, optimize=True))
    return thumbnail, preview, _placeholder(picture)


def _with_full(derived: Derived, every_pixel: Callable[[], Image.Image], into: Path) -> Derived:
    """Every pixel as a JPEG: a hairline crack is a pixel or two wide.

    After the others: whatever goes wrong here, the smaller copies are there.
    """
    full = into / "full.jpg"
    try:
        picture = every_pixel()
        picture.info.clear()
        # Not optimized: that would hold all of it in memory once more.
        full.write_bytes(_jpeg(picture, quality=90))
    except (Unreadable, *BROKEN) as broken:
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
    know("WEBP")
    for side in (24, 16, 8):  # noise is hard to pack: then fewer dots
        small = picture.copy()
        small.thumbnail((side, side))
        packed = io.BytesIO()
        small.save(packed, "WEBP", quality=30, method=6)
        if packed.tell() <= 420:
            break
    return "data:image/webp;base64," + base64.b64encode(packed.getvalue()).decode()
