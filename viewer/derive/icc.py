"""Strip ICC colour profiles: curves and primaries stay, names and serial numbers go.

A screenshot carries the profile of its screen, and that knows the screen's name and number.
"""

import struct

LARGEST = 4 * 1024 * 1024  # bytes; those of printers are the largest, about one
_HEAD = 128
_COLOURS = frozenset(
    {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC", b"wtpt", b"bkpt", b"chad",
     b"A2B0", b"A2B1", b"A2B2", b"B2A0", b"B2A1", b"B2A2", b"gamt", b"lumi", b"cicp"}
)  # fmt: skip
_TITLE = b"colors"


def cleaned(profile: bytes) -> bytes | None:
    """The same colours under a neutral name; None if it is no profile that we understand."""
    if not _HEAD + 4 <= len(profile) <= LARGEST or profile[36:40] != b"acsp":
        return None
    tags = _tags(profile)
    if not tags:
        return None
    say = _said_since_v4 if profile[8] >= 4 else _said_before
    tags = [(b"desc", say(b"desc")), (b"cprt", say(b"cprt")), *tags]
    table, bodies = struct.pack(">I", len(tags)), b""
    at = _HEAD + 4 + 12 * len(tags)
    for name, body in tags:
        table += name + struct.pack(">II", at + len(bodies), len(body))
        bodies += body + b"\0" * (-len(body) % 4)
    return _head(profile, at + len(bodies)) + table + bodies


def _tags(profile: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    for entry in range(min(int.from_bytes(profile[_HEAD : _HEAD + 4], "big"), 100)):
        name, at, size = struct.unpack_from(
            ">4sII", profile.ljust(_HEAD + 4 + 1200, b"\0"), _HEAD + 4 + 12 * entry
        )
        body = profile[at : at + size]
        if name in _COLOURS and at >= _HEAD and len(body) == size > 8:
            found.append((name, body))
    return found


def _head(profile: bytes, size: int) -> bytes:
    """Size, version, class and colour spaces; no date, maker, model, creator or fingerprint."""
    return (
        struct.pack(">I", size) + bytes(4) + profile[8:24] + bytes(12) + b"acsp" + bytes(24)
        + profile[64:80]  # how to render, and under which light
        + bytes(48)
    )  # fmt: skip


def _said_since_v4(_tag: bytes) -> bytes:
    words = _TITLE.decode().encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(words), 28) + words


def _said_before(tag: bytes) -> bytes:
    if tag == b"cprt":
        return b"text" + bytes(4) + _TITLE + b"\0"
    return b"desc" + bytes(4) + struct.pack(">I", len(_TITLE) + 1) + _TITLE + bytes(1 + 8 + 3 + 67)
