"""Photos that one reader takes for this and another for that, drawn from nothing.

All show QUARTERS: four colours, so that turning, mirroring and colour can be seen at once.
"""

import io
import math
import struct
import zlib
from array import array
from typing import Any

import pillow_heif
from PIL import Image, ImageCms

from tests.support.samples import packed

pillow_heif.register_heif_opener()

RED, GREEN, BLUE, YELLOW = (210, 40, 40), (40, 170, 60), (40, 60, 200), (230, 200, 40)
QUARTERS = (RED, GREEN, BLUE, YELLOW)  # top left, top right, bottom left, bottom right
TURNED_6 = (BLUE, RED, YELLOW, GREEN)  # by a quarter to the right
TURNED_5 = (RED, BLUE, GREEN, YELLOW)  # mirrored at the diagonal
Colour = tuple[int, int, int]


def quarters(width: int = 640, height: int = 480) -> Image.Image:
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(GREEN, (width // 2, 0, width, height))
    picture.paste(BLUE, (0, height // 2, width // 2, height))
    picture.paste(YELLOW, (width // 2, height // 2, width, height))
    return picture


def quarters_of(picture: Image.Image) -> list[Colour]:
    """The colour in the middle of each quarter."""
    picture = picture.convert("RGB")
    width, height = picture.size
    places = [(x, y) for y in (1, 3) for x in (1, 3)]
    return [picture.getpixel((width * x // 4, height * y // 4)) for x, y in places]  # type: ignore[misc]


def distance(seen: Any, expected: Any) -> float:
    """The largest difference of a channel."""
    pairs = zip(seen, expected, strict=True)
    return max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))


# --- What says which way up it is ------------------------------------------------------------


def exif(*entries: tuple[int, int, int, int], order: str = ">") -> bytes:
    """An EXIF block of entries: tag, type, count, value."""
    block = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "IH", 8, len(entries))
    for tag, kind, count, value in entries:
        short = kind == 3
        block += struct.pack(order + "HHI", tag, kind, count)
        block += struct.pack(order + ("HH" if short else "I"), *((value, 0) if short else (value,)))
    return block + bytes(4)


def turned(value: int) -> bytes:
    return exif((0x0112, 3, 1, value))


def xmp(value: int) -> bytes:
    words = f"tiff:Orientation='{value}' xmlns:tiff='http://ns.adobe.com/tiff/1.0/'"
    return (
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF "
        "xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        f"<rdf:Description {words}/></rdf:RDF></x:xmpmeta>"
    ).encode()


def app1(content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, 0xE1, len(content) + 2) + content


def exif_segment(block: bytes) -> bytes:
    return app1(b"Exif\0\0" + block)


def xmp_segment(value: int) -> bytes:
    return app1(b"http://ns.adobe.com/xap/1.0/\0" + xmp(value))


def jpeg(*segments: bytes, picture: Image.Image | None = None, **options: Any) -> bytes:
    """These segments stand right behind the start."""
    plain = packed(picture or quarters(), "JPEG", **{"quality": 85, **options})
    return plain[:2] + b"".join(segments) + plain[2:]


def chunk(name: bytes, content: bytes, check: int | None = None) -> bytes:
    check = zlib.crc32(name + content) if check is None else check
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png(*chunks: bytes, picture: Image.Image | None = None) -> bytes:
    """These chunks stand right behind the header."""
    plain = packed(picture or quarters(), "PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


BROKEN_EXIF = b"\0\x08\0\x02\x01\x12\0\x03" + bytes(40)


# --- What says which colours it has ----------------------------------------------------------

# Primaries under D50, as a profile holds them.
_ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))


_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))


def adobe_profile() -> bytes:
    return _rgb_profile(_ADOBE, 563)  # a gamma of 2.2


def _rgb_profile(primaries: tuple[tuple[float, ...], ...], gamma: int) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, gamma) + bytes(2)
    tags = {b"wtpt": _point((0.9642, 1.0, 0.8249)), b"desc": b"desc" + bytes(90)}
    tags |= dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_point, primaries), strict=True))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _profile(b"RGB ", tags)


def grey_profile(gamma: float) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    return _profile(b"GRAY", {b"wtpt": _point((0.9642, 1.0, 0.8249)), b"kTRC": curve})


def _point(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in values))


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, bodies, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, body in tags.items():
        table += name + struct.pack(">II", at + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    head = struct.pack(">I", at + len(bodies)) + bytes(4) + b"\x02\x10\0\0mntr" + space + b"XYZ "
    head += bytes(12) + b"acsp" + bytes(28) + _point((0.9642, 1.0, 0.8249))[8:]
    return head.ljust(128, b"\0") + table + bodies


def in_adobe_rgb() -> bytes:
    return _in(adobe_profile())


def in_display_p3() -> bytes:
    return _in(_rgb_profile(_P3, 563))


def _in(profile: bytes) -> bytes:
    picture = ImageCms.profileToProfile(
        quarters(), ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(profile))
    )
    return packed(picture, "JPEG", quality=92, icc_profile=profile)


def hdr(transfer: int, format_: str = "HEIF") -> bytes:
    """The quarters in ten bits and BT.2020, by PQ (16) or HLG (18)."""
    small = quarters(64, 48)
    data, known = array("H"), {}
    for colour in small.get_flattened_data():
        if colour not in known:
            known[colour] = [round(v * 65535) for v in _coded(colour, transfer)]
        data.extend(known[colour])
    heif = pillow_heif.from_bytes(mode="RGB;16", size=small.size, data=data.tobytes())
    out = io.BytesIO()
    heif.save(out, quality=95, chroma=444, color_primaries=9, transfer_characteristics=transfer,
              matrix_coefficients=9)  # fmt: skip
    return out.getvalue()


def _coded(colour: Colour, transfer: int) -> list[float]:
    r, g, b = ((v / 255 + 0.055) ** 2.4 / 1.055**2.4 if v > 10 else v / 3294 for v in colour)
    wide = (
        0.6274 * r + 0.3293 * g + 0.0433 * b,
        0.0691 * r + 0.9195 * g + 0.0114 * b,
        0.0164 * r + 0.0880 * g + 0.8956 * b,
    )
    if transfer == 16:
        powers = [(light * 203 / 10_000) ** 0.1593017578125 for light in wide]
        return [((0.8359375 + 18.8515625 * p) / (1 + 18.6875 * p)) ** 78.84375 for p in powers]
    luminance = 0.203 * (0.2627 * wide[0] + 0.6780 * wide[1] + 0.0593 * wide[2])
    scene = [0.203 * light / luminance ** (0.2 / 1.2) for light in wide]
    return [_hlg(light) for light in scene]


def _hlg(light: float) -> float:
    # The curve of ITU-R BT.2100.
    return (
        math.sqrt(3 * light)
        if light <= 1 / 12
        else 0.17883277 * math.log(12 * light - 0.28466892) + 0.55991073
    )
