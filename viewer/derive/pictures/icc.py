"""Strip ICC colour profiles: curves and primaries stay, names and serial numbers go.

A screenshot carries the profile of its screen, and that knows the screen's name and number.
"""

import struct
from collections.abc import Iterator

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


_SRGB = {  # the primaries as an ICC profile holds them
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
_MIDDLE = 0.2140  # of the light of white: what sRGB means by a half


def has_primaries(profile: bytes, primaries: dict[bytes, tuple[float, float, float]]) -> bool:
    """Whether its primaries are these, within what makers round."""
    found = {}
    for name, body in _raw_tags(profile, 50):
        if name in primaries and len(body) >= 20:
            found[name] = [part / 65536 for part in struct.unpack_from(">3i", body, 8)]
    return found.keys() == primaries.keys() and all(
        abs(is_ - should) < 0.002
        for name, primary in primaries.items()
        for is_, should in zip(found[name], primary, strict=True)
    )


def is_srgb(profile: bytes) -> bool:
    """Whether it means the colours that a picture without a profile has."""
    curves = [body for name, body in _raw_tags(profile, 50) if name in (b"rTRC", b"gTRC", b"bTRC")]
    return (
        has_primaries(profile, _SRGB)
        and len(curves) == 3
        and all(abs(_middle(curve) - _MIDDLE) < 0.0025 for curve in curves)
    )


def _middle(curve: bytes) -> float:
    """What a tone curve makes of a half."""
    if curve[:4] == b"curv" and len(curve) >= 12:
        count = int.from_bytes(curve[8:12], "big")
        values = struct.unpack_from(f">{min(count, (len(curve) - 12) // 2)}H", curve, 12)
        if not values:
            return 0.5
        return float(0.5 ** (values[0] / 256)) if count == 1 else values[len(values) // 2] / 65535
    if curve[:4] == b"para" and len(curve) >= 28 and curve[8:10] in (b"\0\3", b"\0\4"):
        gamma, a, b = (part / 65536 for part in struct.unpack_from(">3i", curve, 12))
        return float(max(a * 0.5 + b, 0) ** gamma)
    return 0.0


def _raw_tags(profile: bytes, most: int) -> Iterator[tuple[bytes, bytes]]:
    count = int.from_bytes(profile[_HEAD : _HEAD + 4], "big")
    for at in range(_HEAD + 4, _HEAD + 4 + 12 * min(count, most), 12):
        name, place, size = struct.unpack(">4sII", profile[at : at + 12].ljust(12, b"\0"))
        body = profile[place : place + size]
        if place >= _HEAD and len(body) == size:
            yield name, body


def _tags(profile: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (name, body) for name, body in _raw_tags(profile, 100) if name in _COLOURS and len(body) > 8
    ]


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
