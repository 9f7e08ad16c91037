"""Read EXIF for staff: camera, time, place."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from PIL import ExifTags, Image

from viewer.derive.kinds.sniff import Kind
from viewer.derive.pictures.decoding import BROKEN, opened
from viewer.derive.types import Described, Limits

_MOST = 120  # characters of what a stranger's file says


def describe(source: BinaryIO, kind: Kind, _into: Path, limits: Limits) -> Iterator[Described]:
    """One answer, however broken what the camera wrote. Raises Unreadable for no picture."""
    with opened(source, kind, limits) as image:
        tags, more, gps = _read(image)
    maker, model = _text(tags, ExifTags.Base.Make), _text(tags, ExifTags.Base.Model)
    if maker and model and model.lower().startswith(maker.lower()):
        maker = None  # "Canon Canon EOS"
    yield Described(
        camera=" ".join(filter(None, (maker, model))) or None,
        lens=_text(more, ExifTags.Base.LensModel),
        taken_at=_moment(
            _text(more, ExifTags.Base.DateTimeOriginal) or _text(tags, ExifTags.Base.DateTime),
            _text(more, ExifTags.Base.OffsetTimeOriginal),
        ),
        place=_position(gps),
    )


def _read(image: Image.Image) -> tuple[Mapping[int, Any], Mapping[int, Any], Mapping[int, Any]]:
    """The first folder, the camera's, and that of the place; empty where it cannot be read."""
    try:
        tags = image.getexif()
    except BROKEN:
        return {}, {}, {}
    folders = []
    for folder in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        try:
            folders.append(tags.get_ifd(folder))
        except BROKEN:
            folders.append({})
    return tags, folders[0], folders[1]


def _text(tags: Mapping[int, Any], tag: int) -> str | None:
    value = tags.get(tag)
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if not isinstance(value, str):
        return None
    printable = "".join(letter for letter in value if letter.isprintable())
    return printable.strip()[:_MOST] or None


def _moment(told: str | None, offset: str | None) -> str | None:
    """2026-09-21 10:13:19 -04:00"""
    if told is None or told.startswith("0000"):
        return None
    day, _, rest = told.partition(" ")
    return " ".join(filter(None, (day.replace(":", "-"), rest, offset)))


def _position(gps: Mapping[int, Any]) -> str | None:
    """42.361100° N, 71.057000° W"""
    found = []
    for value, half, positive in (
        (ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, "NS"),
        (ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, "EW"),
    ):
        try:
            degrees, minutes, seconds = (float(part) for part in gps[value])
            total = degrees + minutes / 60 + seconds / 3600
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return None
        side = _text(gps, half) or positive[0]
        if not math.isfinite(total) or total > 180 or side not in positive:
            return None
        found.append(f"{total:.6f}° {side}")
    return ", ".join(found)
