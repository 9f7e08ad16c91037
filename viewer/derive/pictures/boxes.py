"""Read the boxes of a HEIF or AVIF file: what they say of the first picture.

ISO/IEC 14496-12 (the boxes) and 23008-12 (pictures in them).
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MOST = 4 * 1024 * 1024  # bytes of a description that we read; those of phones have some thousands
_LARGEST = 2**40  # bytes of a box; a longer one is a lie


@dataclass(frozen=True, slots=True)
class Properties:
    """What the container says of the picture. None: nothing."""

    turn: int | None = None  # quarters, against the clock
    mirror: int | None = None  # 0 swaps top and bottom, 1 left and right
    primaries: int | None = None  # of the colours, as numbered in ITU-T H.273
    transfer: int | None = None  # their curve, numbered likewise

    @property
    def orientation(self) -> int:
        """As EXIF numbers it: turned first, then mirrored."""
        if self.mirror is None:
            return (1, 8, 3, 6)[self.turn or 0]
        return ((4, 2), (5, 7), (2, 4), (7, 5))[self.turn or 0][self.mirror]


def read_properties(source: BinaryIO) -> Properties:
    """The properties of the primary item; none of them where the file is broken."""
    try:
        return _properties(_description(source))
    except (struct.error, IndexError):
        return Properties()


def without_notes(content: bytes) -> bytes:
    """The same file, in which no decoder finds EXIF or XMP any more. The pictures stay in place."""
    at = content.find(b"meta")
    size = int.from_bytes(content[max(0, at - 4) : at], "big")
    meta = content[at : at + size]
    hidden = re.sub(rb"(infe.{8})(?:Exif|mime)", rb"\1free", meta, flags=re.DOTALL)
    return content[:at] + hidden + content[at + size :] if at > 0 else content


def _description(source: BinaryIO) -> bytes:
    """What is in the box `meta` of the file."""
    at = source.seek(0)
    for _ in range(64):
        head = source.read(16)
        size, name = struct.unpack_from(">I4s", head)
        start = 8
        if size == 1:
            size, start = struct.unpack_from(">Q", head, 8)[0], 16
        if name == b"meta":
            source.seek(at + start)
            return source.read(min(size - start, _MOST) if size else _MOST)[4:]
        if not start <= size < _LARGEST:
            break
        at = source.seek(at + size)
    return b""


def _properties(meta: bytes) -> Properties:
    boxes = dict(_boxes(meta))
    within = dict(_boxes(boxes.get(b"iprp", b"")))
    all_of_them = list(_boxes(within.get(b"ipco", b"")))
    turn = mirror = primaries = transfer = None
    for index in _of_item(within.get(b"ipma", b""), _primary(boxes.get(b"pitm", b""))):
        if not 0 < index <= len(all_of_them):
            continue
        name, body = all_of_them[index - 1]
        if name == b"irot":
            turn = body[0] & 3
        elif name == b"imir":
            mirror = body[0] & 1
        elif name == b"colr" and body[:4] == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", body, 4)
    return Properties(turn, mirror, primaries, transfer)


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        if size < 8:
            return
        yield name, content[at + 8 : at + size]
        at += size


def _primary(pitm: bytes) -> int:
    if not pitm:
        return 0
    found: int = struct.unpack_from(">I" if pitm[0] else ">H", pitm, 4)[0]
    return found


def _of_item(ipma: bytes, item: int) -> list[int]:
    """The numbers of the properties that belong to this item."""
    if not ipma:
        return []
    has_long_ids, has_long_numbers = bool(ipma[0]), bool(ipma[3] & 1)
    at = 8
    for _ in range(struct.unpack_from(">I", ipma, 4)[0]):
        here = struct.unpack_from(">I" if has_long_ids else ">H", ipma, at)[0]
        at += 4 if has_long_ids else 2
        count, at = ipma[at], at + 1
        if here == item:
            step, bits = (">H", 0x7FFF) if has_long_numbers else (">B", 0x7F)
            size = struct.calcsize(step)
            return [struct.unpack_from(step, ipma, at + n * size)[0] & bits for n in range(count)]
        at += count * (2 if has_long_numbers else 1)
    return []
