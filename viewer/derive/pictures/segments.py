"""Take out of a JPEG, PNG or WebP what is not picture, without touching the picture.

An allow-list: what is not known to be needed to show the picture goes. So go EXIF and the thumbnail
within it, XMP, IPTC, comments, makers' notes, second pictures and whatever hangs on behind the end.
The orientation, as it was judged (`orientation`), is stated in an EXIF block of ours, and the
colours stay (`icc`).
"""

import re
import struct
import zlib
from collections.abc import Iterator

from viewer.derive.pictures import icc
from viewer.derive.pictures.orientation import exif_with
from viewer.derive.types import Unreadable

_STRANGE = "The picture is built in a way that we cannot clean."

# --- JPEG ----------------------------------------------------------------------------------

_SOI, _EOI, _SOS, _COM = b"\xff\xd8", b"\xff\xd9", 0xDA, 0xFE
_DNL = 0xDC  # the number of lines once more, which decoders skip
# Frames, tables and restart intervals: what decoding takes.
_NEEDED = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDD} - {0xC8})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_APP = range(0xE0, 0xF0)
_EXIF, _ICC, _ADOBE, _JFIF = b"Exif\0\0", b"ICC_PROFILE\0", b"Adobe", b"JFIF\0"
# In a scan 0xFF means something only before what is neither a zero nor a restart.
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def jpeg(photo: bytes, turned: int = 1) -> list[bytes]:
    """The pieces of the clean file, for an orientation as EXIF numbers it. Raises Unreadable."""
    jfif, adobe = b"", b""
    body: list[bytes] = []
    profile: dict[bytes, bytes] = {}
    has_scan = False
    for marker, segment, scan in walk_jpeg(photo):
        if marker in _NEEDED or marker == _SOS:
            body += [_segment(marker, segment), scan]
            has_scan = has_scan or marker == _SOS
        elif segment.startswith(_JFIF) and marker == 0xE0 and len(segment) >= 12:
            jfif = _segment(0xE0, segment[:12] + b"\0\0")  # without its thumbnail
        elif segment.startswith(_ADOBE) and marker == 0xEE and len(segment) >= 12:
            adobe = _segment(0xEE, segment[:12])  # how the colours are mixed
        elif segment.startswith(_ICC) and marker == 0xE2:
            profile[segment[12:13]] = segment[14:]
        elif marker not in _APP and marker not in (_COM, _DNL):
            raise Unreadable(_STRANGE)
    if not has_scan:
        raise Unreadable(_STRANGE)
    turn = _segment(0xE1, _EXIF + exif_with(turned)) if turned != 1 else b""
    colours = icc.cleaned(b"".join(part for _, part in sorted(profile.items())))
    return [_SOI, jfif, turn, *_icc_segments(colours), adobe, *body, _EOI]


def walk_jpeg(photo: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, content, and the scan that follows it; up to the end of the first picture.

    What stands between segments is skipped, as decoders do. Raises Unreadable.
    """
    at = 2
    while (at := photo.find(b"\xff", at)) >= 0 and at + 4 <= len(photo):
        marker = photo[at + 1]
        if marker == 0xFF:  # may be repeated
            at += 1
        elif marker == 0 or marker in _STANDALONE:
            at += 2
        elif marker == _EOI[1]:
            return
        else:
            stop = at + 2 + int.from_bytes(photo[at + 2 : at + 4], "big")
            if stop < at + 4:
                raise Unreadable(_STRANGE)
            content, at = photo[at + 4 : stop], stop
            scan = b""
            if marker == _SOS:
                end = _END_OF_SCAN.search(photo, stop)
                at = end.start() if end else len(photo)  # cut off on its way: as far as it goes
                scan = photo[stop:at]
            yield marker, content, scan


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _icc_segments(profile: bytes | None) -> list[bytes]:
    room = 65_533 - len(_ICC) - 2
    parts = [profile[at : at + room] for at in range(0, len(profile), room)] if profile else []
    return [
        _segment(0xE2, _ICC + bytes([number, len(parts)]) + part)
        for number, part in enumerate(parts, 1)
    ]


# --- PNG -----------------------------------------------------------------------------------

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"cICP",
     b"acTL", b"fcTL", b"fdAT"}  # the last three: it moves
)  # fmt: skip


def png(picture: bytes, turned: int = 1) -> list[bytes]:
    """The pieces of the clean file. Raises Unreadable."""
    before = [_PNG]
    body: list[bytes] = []
    for name, content in _chunks(picture):
        if name in _PNG_NEEDED:
            (body if body or name == b"IDAT" else before).append(_chunk(name, content))
        elif name == b"iCCP" and not body:
            if profile := icc.cleaned(_inflated(content.partition(b"\0")[2][1:])):
                before.append(_chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile)))
        elif name[:1].isupper() and name != b"IEND":  # needed, and unknown to us
            raise Unreadable(_STRANGE)
    if not body:
        raise Unreadable(_STRANGE)
    turn = _chunk(b"eXIf", exif_with(turned)) if turned != 1 else b""
    return [*before, turn, *body, _chunk(b"IEND", b"")]


def _chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG)
    while at + 12 <= len(picture):
        size, name = struct.unpack_from(">I4s", picture, at)
        yield name, picture[at + 8 : at + 8 + size]
        if name == b"IEND":
            return
        at += 12 + size


def _chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, icc.LARGEST)
    except zlib.error:
        return b""


# --- WebP ----------------------------------------------------------------------------------

_ICC_FLAG, _EXIF_FLAG, _XMP_FLAG = 0x20, 0x08, 0x04  # of VP8X: what the file says it holds


def webp(picture: bytes, turned: int = 1) -> list[bytes]:
    """The pieces of the clean file. Raises Unreadable."""
    extended, profile = b"", b""
    body: list[bytes] = []
    for name, content in _riff(picture[12:]):
        if name == b"VP8X" and len(content) >= 10:
            extended = content[:10]
        elif name == b"ICCP":
            profile = icc.cleaned(content) or b""
        elif name in (b"VP8 ", b"VP8L", b"ALPH", b"ANIM"):
            body.append(_riff_chunk(name, content))
        elif name == b"ANMF":  # one picture of those that move, with chunks of its own
            inner = [
                _riff_chunk(part, pixels)
                for part, pixels in _riff(content[16:])
                if part in (b"VP8 ", b"VP8L", b"ALPH")
            ]
            body.append(_riff_chunk(b"ANMF", content[:16] + b"".join(inner)))
    if not body:
        raise Unreadable(_STRANGE)
    pieces = body
    if extended:
        flags = extended[0] & ~(_ICC_FLAG | _EXIF_FLAG | _XMP_FLAG)
        flags |= (_ICC_FLAG if profile else 0) | (_EXIF_FLAG if turned != 1 else 0)
        pieces = [_riff_chunk(b"VP8X", bytes([flags]) + extended[1:])]
        pieces += [_riff_chunk(b"ICCP", profile)] if profile else []
        pieces += body
        pieces += [_riff_chunk(b"EXIF", exif_with(turned))] if turned != 1 else []
    size = 4 + sum(len(piece) for piece in pieces)
    return [b"RIFF" + struct.pack("<I", size) + b"WEBP", *pieces]


def _riff(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        yield name, content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _riff_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
