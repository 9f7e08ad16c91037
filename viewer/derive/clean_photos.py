"""A photo for strangers: every pixel of it, and nothing of where, when and by what it was taken."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from viewer.derive import segments
from viewer.derive.sniff import Kind
from viewer.derive.types import Cleaned, Limits

_QUALITY = 92

# Cleaned without being decoded: the picture stays bit for bit what it was.
_TAKEN_APART: dict[str, Callable[[bytes], list[bytes]]] = {
    "image/jpeg": segments.jpeg,
    "image/png": segments.png,
    "image/webp": segments.webp,
}


def clean(source: BinaryIO, kind: Kind, into: Path, limits: Limits) -> Iterator[Cleaned]:
    """One answer. Raises Unreadable."""
    source.seek(0)
    if take_apart := _TAKEN_APART.get(kind.mime_type):
        file = into / f"clean.{kind.extension}"
        file.write_bytes(b"".join(take_apart(source.read())))
        yield Cleaned(file, kind.mime_type)
    else:
        file = into / "clean.jpg"
        file.write_bytes(_as_jpeg(source, kind, limits))
        yield Cleaned(file, "image/jpeg", is_remade=True)


def _as_jpeg(source: BinaryIO, kind: Kind, limits: Limits) -> bytes:
    from viewer.derive.photos import whole  # here, because most photos need no Pillow

    packed = io.BytesIO()
    whole(source, kind, limits).save(packed, "JPEG", quality=_QUALITY, subsampling=0)
    return packed.getvalue()
