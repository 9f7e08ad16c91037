"""Which way up a picture is: the one judgement that thumbnail, copies and clean copy share.

As browsers judge, read from the file's own bytes: by the EXIF of a JPEG or PNG, by the container of
an AVIF, by the tag of a TIFF, never by XMP. Tried in Chromium, Firefox 153 and WebKitGTK 2.50:

  JPEG   SHORT, count 1, in the first EXIF segment. Where XMP stands before it Firefox does not
         turn; of several EXIF segments WebKit takes the first that says something.
  PNG    eXIf before the pixels, with a right checksum; not in WebKit.
  AVIF   not in WebKit.
  WebP   nowhere, though it says which way up it is, and Safari and programs turn it.

So a judgement says too whether every browser shows the original in this way. Where not, they get a
copy (Derived.full).
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from viewer.derive.kinds.sniff import Kind
from viewer.derive.pictures import boxes

TAG = 0x0112
_SHORT = 3
_EXIF = b"Exif\0"
_PNG_START = 8
_MOST_FILLING = 4096  # bytes between the segments of a JPEG


@dataclass(frozen=True, slots=True)
class Orientation:
    """Where the top is, as EXIF numbers it."""

    value: int = 1
    is_everywhere: bool = True  # every browser shows the original so
    is_shown: bool = True  # browsers show the original at all

    @property
    def is_sideways(self) -> bool:
        return self.value >= 5


def read_orientation(source: BinaryIO, kind: Kind) -> Orientation:
    """Judge. Upright where the file says nothing, or is broken there: EXIF costs no picture.

    TIFF and HEIC are upright here: their decoders turn them.
    """
    reader = _READERS.get(kind.mime_type)
    return Orientation() if reader is None else reader(source)


def stated(tiff: bytes) -> list[int]:
    """Every orientation that an EXIF block states as browsers accept it: SHORT, and one of it."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return []
    at = struct.unpack_from(f"{order}I", tiff, 4)[0]
    if at + 2 > len(tiff):
        return []
    found = []
    for entry in range(struct.unpack_from(f"{order}H", tiff, at)[0]):
        place = at + 2 + 12 * entry
        if place + 12 > len(tiff):
            break
        tag, kind, count, value = struct.unpack_from(f"{order}HHIH", tiff, place)
        if (tag, kind, count) == (TAG, _SHORT, 1):
            found.append(value)
    return found


def exif_with(value: int) -> bytes:
    """An EXIF block that says where the top is, and nothing else."""
    return b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, TAG, _SHORT, 1, value, 0, 0)


def _of_jpeg(notes: list[bytes]) -> Orientation:
    """Judge by the APP1 segments of a JPEG, in their order."""
    heeds_first = bool(notes) and len(notes[0]) > 6 and notes[0].startswith(_EXIF + b"\0")
    exif = [note[6:] for note in notes if note.startswith(_EXIF) and len(note) > 6]
    values = [stated(block) for block in exif]
    first = values[0] if values else []
    value = _last_known(first)
    firefox = value if heeds_first else 1
    webkit = next((known for known in map(_last_known, values) if known != 1), 1)
    return Orientation(value, value == firefox == webkit and len(set(first)) <= 1)


# What a JPEG may be for browsers: baseline, extended or progressive, of 8 bits a sample.
_SHOWN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def _jpeg(source: BinaryIO) -> Orientation:
    notes, is_shown = [], True
    for marker, content in _jpeg_segments(source):
        if marker == 0xE1:
            notes.append(content)
        elif marker in _FRAMES:
            is_shown = marker in _SHOWN_FRAMES and content[:1] == b"\x08"
    judged = _of_jpeg(notes)
    return judged if is_shown else Orientation(judged.value, False, is_shown=False)


def _jpeg_segments(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Marker and content of what stands before the scan; of others than EXIF the beginning."""
    source.seek(2)
    filling = 0
    while len(head := source.read(4)) == 4 and filling < _MOST_FILLING:
        if head[0] != 0xFF or head[1] in (0xFF, 0):  # decoders skip it
            filling += 1
            source.seek(-3, 1)
            continue
        marker, size = head[1], int.from_bytes(head[2:], "big")
        if marker == 0xDA or size < 2:
            return
        wanted = size - 2 if marker == 0xE1 else min(size - 2, 16)
        content = source.read(wanted)
        yield marker, content
        source.seek(size - 2 - len(content), 1)


def _png(source: BinaryIO) -> Orientation:
    source.seek(_PNG_START)
    while len(head := source.read(8)) == 8:
        size, name = struct.unpack(">I4s", head)
        if name in (b"IDAT", b"IEND"):
            break
        if name == b"eXIf" and size < 1 << 24:
            content, check = source.read(size), source.read(4)
            if check == zlib.crc32(content, zlib.crc32(name)).to_bytes(4, "big"):
                return _where_not_all_turn(content)
            break
        source.seek(size + 4, 1)
    return Orientation()


def _webp(source: BinaryIO) -> Orientation:
    source.seek(12)
    while len(head := source.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"EXIF" and size < 1 << 24:
            return _where_not_all_turn(source.read(size).removeprefix(_EXIF + b"\0"))
        source.seek(size + size % 2, 1)
    return Orientation()


def _avif(source: BinaryIO) -> Orientation:
    value = boxes.read_properties(source).orientation
    return Orientation(value, is_everywhere=value == 1)


def _where_not_all_turn(tiff: bytes) -> Orientation:
    value = _last_known(stated(tiff))
    return Orientation(value, is_everywhere=value == 1)


def _last_known(values: list[int]) -> int:
    return next((value for value in reversed(values) if 1 <= value <= 8), 1)


_READERS: dict[str, Callable[[BinaryIO], Orientation]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/webp": _webp,
    "image/avif": _avif,
}
