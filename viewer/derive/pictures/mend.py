"""A second try at a photo that its decoder refuses: without what is no picture, and with an end.

Broken metadata, a wrong checksum of a comment, a missing end mark: none of them costs the picture.
What is missing of the pixels themselves stays missing, and is_whole_jpeg() tells.
"""

import struct
from collections.abc import Callable

from viewer.derive.kinds.sniff import Kind
from viewer.derive.pictures import boxes, gif, segments
from viewer.derive.types import Unreadable

_EOI = b"\xff\xd9"
# Pixels that no photo has at the place where it was cut. No 0xFF: that would end the scan.
_FILLING = bytes.fromhex("5a3c96e1") * 256
# Folders of a TIFF, and notes, that decoding does not take.
_NOTES = frozenset({700, 33723, 34377, 34665, 34853, 40965, 37500, 50341})
_PAIRS = ((273, 279), (324, 325))  # where strips and tiles begin, and how long they are
_STRIPS = frozenset(tag for pair in _PAIRS for tag in pair)
_PRIVATE = 65_000  # a tag that nobody knows
_MOST_MISSING = 64 * 1024 * 1024


def mended(content: bytes, kind: Kind) -> bytes | None:
    """The file as its decoder may like it better; None if we know no way."""
    mend = _WAYS.get(kind.mime_type)
    try:
        return mend(content) if mend else None
    except (Unreadable, struct.error, IndexError):
        return None


def is_whole_jpeg(mended: bytes, pixels_of: Callable[[bytes], bytes]) -> bool:
    """Whether the scans of this JPEG, which ended without an end mark, hold every pixel.

    They do if more data changes nothing: decoders read past the last block only where one is
    missing. A progressive one must also have come down to the last bit of each coefficient.
    """
    if not _has_all_scans(mended):
        return False
    body = mended.removesuffix(_EOI).rstrip(b"\xff")  # half an end mark
    return pixels_of(body + _EOI) == pixels_of(body + _FILLING + _EOI)


def _has_all_scans(jpeg: bytes) -> bool:
    wanted: set[tuple[int, int]] = set()
    for marker, content, _scan in segments.walk_jpeg(jpeg):
        if marker in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
            ids = [content[6 + 3 * n] for n in range(content[5])]
            wanted = {(one, place) for one in ids for place in range(64)}
        elif marker == 0xDA:
            count = content[0]
            ids = [content[1 + 2 * n] for n in range(count)]
            first, last, bits = content[1 + 2 * count : 4 + 2 * count]
            if bits & 15 == 0:  # to the last bit
                wanted -= {(one, place) for one in ids for place in range(first, last + 1)}
    return not wanted


def is_all_there(content: bytes, kind: Kind) -> bool:
    """Whether this file, which no decoder of ours takes, is as long as it says it has to be.

    Then it is of a kind that we do not know, and nobody may call it damaged.
    """
    try:
        if kind.mime_type == "image/bmp":
            announced: int = struct.unpack_from("<I", content, 2)[0]
            return len(content) >= announced > 54
        return kind.mime_type == "image/tiff" and _holds_its_strips(content)
    except struct.error:
        return False


def _holds_its_strips(content: bytes) -> bool:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    if order is None:
        return False
    places: dict[int, tuple[int, ...]] = {}
    at = struct.unpack_from(f"{order}I", content, 4)[0]
    for entry in range(struct.unpack_from(f"{order}H", content, at)[0]):
        place = at + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(f"{order}HHI", content, place)
        if tag in _STRIPS and kind in (3, 4):
            one = "H" if kind == 3 else "I"
            size = count * struct.calcsize(one)
            if size > 4:
                place = struct.unpack_from(f"{order}I", content, place + 8)[0] - 8
            places[tag] = struct.unpack_from(f"{order}{count}{one}", content, place + 8)
    pairs = [(places[start], places[size]) for start, size in _PAIRS if {start, size} <= {*places}]
    return bool(pairs) and all(
        start + size <= len(content)
        for starts, sizes in pairs
        for start, size in zip(starts, sizes, strict=False)
    )


def _png(content: bytes) -> bytes:
    """Its first picture: what is wrong with a PNG that moves may be wrong with the rest."""
    return b"".join(
        piece for piece in segments.png(content) if piece[4:8] not in (b"acTL", b"fcTL", b"fdAT")
    )


def _tiff(content: bytes) -> bytes:
    """Under tags that nobody knows stand the folders that only describe."""
    order = "<" if content[:2] == b"II" else ">"
    mended = bytearray(content)
    at = struct.unpack_from(f"{order}I", content, 4)[0]
    for entry in range(struct.unpack_from(f"{order}H", content, at)[0]):
        place = at + 2 + 12 * entry
        if struct.unpack_from(f"{order}H", content, place)[0] in _NOTES:
            struct.pack_into(f"{order}HHI", mended, place, _PRIVATE, 1, 1)
    return bytes(mended)


def _joined(take_apart: Callable[[bytes], list[bytes]]) -> Callable[[bytes], bytes]:
    return lambda content: b"".join(take_apart(content))


_WAYS: dict[str, Callable[[bytes], bytes]] = {
    "image/jpeg": _joined(segments.jpeg),
    "image/png": _png,
    "image/webp": _joined(segments.webp),
    "image/gif": _joined(gif.cleaned),
    "image/avif": boxes.without_notes,
    "image/heic": boxes.without_notes,
    "image/heif": boxes.without_notes,
    "image/tiff": _tiff,
}


def filled_up(content: bytes, kind: Kind) -> bytes | None:
    """A WebP that was cut off, up to the length it announces: its decoder takes none shorter."""
    if kind.mime_type != "image/webp" or len(content) < 64:
        return None
    missing = 8 + int.from_bytes(content[4:8], "little") - len(content)
    return content + bytes(missing) if 0 < missing <= _MOST_MISSING else None
