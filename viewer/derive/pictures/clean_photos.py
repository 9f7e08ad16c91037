"""A photo for strangers: every pixel of it, and nothing of where, when and by what it was taken."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from viewer.derive.kinds.sniff import KINDS, Kind
from viewer.derive.pictures import gif, segments
from viewer.derive.pictures.orientation import Orientation, read_orientation
from viewer.derive.types import Cleaned, Limits, Unreadable

_QUALITY = 92

# Cleaned without being decoded: the picture stays bit for bit what it was.
_TAKEN_APART: dict[str, Callable[[bytes, int], list[bytes]]] = {
    "image/jpeg": segments.jpeg,
    "image/png": segments.png,
    "image/webp": segments.webp,
    "image/gif": lambda picture, _turned: gif.cleaned(picture),
}
_STATED = frozenset({"image/jpeg"})  # all browsers turn these by the EXIF block that we write
_MOVES = (b"acTL", b"ANIM")  # what a PNG or WebP holds that is more than one picture


def clean(source: BinaryIO, kind: Kind, into: Path, limits: Limits) -> Iterator[Cleaned]:
    """One answer. Raises Unreadable."""
    orientation = read_orientation(source, kind)
    source.seek(0)
    content = source.read() if kind.mime_type in _TAKEN_APART else b""
    try:
        yield _taken_apart(content, kind, orientation, into)
    except Unreadable:
        yield _remade(source, content, kind, into, limits)


def _taken_apart(content: bytes, kind: Kind, orientation: Orientation, into: Path) -> Cleaned:
    """Bit for bit. Raises Unreadable where that is not known how, or not what browsers show."""
    take_apart = _TAKEN_APART.get(kind.mime_type)
    if (
        take_apart is None
        or _is_hdr_png(content)
        or (not orientation.is_everywhere and not _can_state(orientation, content, kind))
    ):
        raise Unreadable("The picture has to be encoded anew.")
    file = into / f"clean.{kind.extension}"
    file.write_bytes(b"".join(take_apart(content, orientation.value)))
    return Cleaned(file, kind.mime_type)


def _can_state(orientation: Orientation, content: bytes, kind: Kind) -> bool:
    """Whether the clean file can say which way up it is, so that every browser heeds it."""
    if kind.mime_type in _STATED:
        return orientation.is_shown
    return any(sign in content[:4096] for sign in _MOVES)  # turned anew, it would stand still


def _is_hdr_png(content: bytes) -> bool:
    """Whether it is in PQ or HLG, of which each browser makes other colours."""
    at = content.find(b"cICP", 0, 4096)
    return (
        content.startswith(b"\x89PNG") and at > 0 and content[at + 5 : at + 6] in (b"\x10", b"\x12")
    )


def _remade(source: BinaryIO, content: bytes, kind: Kind, into: Path, limits: Limits) -> Cleaned:
    """At full size, upright, encoded anew. Raises Unreadable."""
    from viewer.derive.pictures import photos  # here, because most photos need no Pillow

    packed = io.BytesIO()
    if kind.mime_type == "image/png" and not _is_hdr_png(content):
        photos.turned(source, kind, limits).save(packed, "PNG")
    elif kind.mime_type == "image/webp":
        is_lossless = b"VP8L" in content[:4096]
        photos.turned(source, kind, limits).save(
            packed, "WEBP", lossless=is_lossless, exact=True, quality=_QUALITY, method=0
        )
    else:
        photos.whole(source, kind, limits).save(packed, "JPEG", quality=_QUALITY, subsampling=0)
        kind = KINDS["image/jpeg"]
    file = into / f"clean.{kind.extension}"
    file.write_bytes(packed.getvalue())
    return Cleaned(file, kind.mime_type, is_remade=True)
