"""Photos, films and recordings made at test time, as phones make them."""

import io
import math
import struct
import zlib
from array import array
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import pillow_heif
from av.audio.resampler import AudioResampler
from PIL import Image

pillow_heif.register_heif_opener()

RED, BLUE = (220, 30, 30), (30, 30, 220)


def corner_picture(width: int = 640, height: int = 480) -> Image.Image:
    """Blue, with the top left quarter red: shows how it is turned."""
    picture = Image.new("RGB", (width, height), BLUE)
    picture.paste(RED, (0, 0, width // 2, height // 2))
    return picture


def red_corner(path: Path) -> str:
    """Which quarter of the picture is the red one."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    width, height = picture.size
    found = []
    for name, x, y in (
        ("top left", 1, 1),
        ("top right", 3, 1),
        ("bottom left", 1, 3),
        ("bottom right", 3, 3),
    ):
        red, _, blue = picture.getpixel((width * x // 4, height * y // 4))
        if red > blue:
            found.append(name)
    return " and ".join(found)


def exif(orientation: int) -> bytes:
    """As bytes: pillow_heif loses the orientation of an Exif object."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010F] = "Made-up phone"
    return tags.tobytes()


def packed(picture: Image.Image, format_: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, format_, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def p3_profile() -> bytes:
    """As much of a Display P3 profile as names it: its three primaries."""
    tags = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    table, bodies, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, xyz in tags.items():
        table += name + struct.pack(">II", at + len(bodies), 20)
        bodies += b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in xyz))
    size = at + len(bodies)
    header = struct.pack(">I", size) + bytes(8) + b"mntrRGB XYZ " + bytes(12) + b"acsp"
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + bodies


def sound(
    path: Path,
    codec: str,
    container: str,
    seconds: float = 2.0,
    rate: int = 44100,
    options: dict[str, str] | None = None,
    **container_options: str,
) -> Path:
    """Half silence, half a tone."""
    with av.open(str(path), "w", format=container, options=container_options) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono", options=options or {})
        stream.bit_rate = 12_200 if codec == "libopencore_amrnb" else 64_000
        _feed_tone(out, stream, seconds, rate)
    return path


def film(
    path: Path,
    codec: str = "libx264",
    container: str = "mp4",
    size: tuple[int, int] = (320, 240),
    frames: int = 20,
    turned: int = 0,
    draw: Callable[[int], Image.Image] | None = None,
    voice: str | None = None,
    voice_rate: int = 44100,
    rate: int = 10,
    pixels: str = "yuv420p",
    moments: Sequence[int] | None = None,
    voice_seconds: float | None = None,
) -> Path:
    """A film of ten frames a second of the corner picture; of others, at `moments` of them."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        if codec == "libx265":
            # With threads it loses the header of one film of one frame in six.
            alone = ":frame-threads=1:pools=none" if frames == 1 else ""
            stream.options = {"preset": "ultrafast", "x265-params": f"log-level=none{alone}"}
        if turned:
            stream.set_display_rotation(turned)
        talk = out.add_stream(voice, rate=voice_rate, layout="mono") if voice else None
        corner = av.VideoFrame.from_image(corner_picture(*size)).reformat(format=pixels)
        for n in range(frames):
            frame = av.VideoFrame.from_image(draw(n)) if draw else corner
            frame.pts = moments[n] if moments else n
            frame.time_base = Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if talk is not None:
            _feed_tone(out, talk, voice_seconds or frames / rate, voice_rate)
    return path


def _feed_tone(out, stream, seconds: float, rate: int) -> None:
    count = round(seconds * rate)
    quiet = count // 2
    samples = array(
        "h",
        (0 if n < quiet else round(20000 * math.sin(n * 0.2)) for n in range(count)),
    )
    frame = av.AudioFrame("s16", "mono", count)
    frame.planes[0].update(samples.tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
    frame.sample_rate = rate
    frame.pts, frame.time_base = 0, Fraction(1, rate)
    context = stream.codec_context
    if not context.is_open:  # as it is once the first picture was written
        context.open()
    resampler = AudioResampler(context.format, context.layout, rate, context.frame_size or None)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        out.mux(stream.encode(piece))
    out.mux(stream.encode(None))


def high_range_film(path: Path, curve: str = "pq", frames: int = 5) -> Path:
    """The corner picture as phones film it in HDR: ten bits, BT.2020, and PQ or HLG."""
    codes = {colour: _high_range_code(colour, curve) for colour in (RED, BLUE)}
    width, height = 320, 240
    with av.open(str(path), "w", format="mov") as out:
        stream = out.add_stream("libx265", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p10le"
        stream.options = {"preset": "ultrafast", "x265-params": "log-level=none"}
        context = stream.codec_context
        context.color_primaries, context.colorspace, context.color_range = 9, 9, 1
        context.color_trc = 16 if curve == "pq" else 18
        frame = av.VideoFrame(width, height, "yuv420p10le")
        for number, plane in enumerate(frame.planes):
            across, high = (width, height) if number == 0 else (width // 2, height // 2)
            rows = b""
            for y in range(high):
                colours = [RED if x < across // 2 and y < high // 2 else BLUE for x in (0, across)]
                line = b"".join(
                    struct.pack("<H", codes[c][number]) * (across // 2) for c in colours
                )
                rows += line.ljust(plane.line_size, b"\0")
            plane.update(rows)
        for n in range(frames):
            frame.pts, frame.time_base = n, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def _high_range_code(colour: tuple[int, int, int], curve: str) -> tuple[int, int, int]:
    """Y, Cb and Cr of this sRGB colour, in ten bits; white is 203 candela, as of paper."""
    r, g, b = (
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
        for v in (one / 255 for one in colour)
    )
    wide = (
        0.6274 * r + 0.3293 * g + 0.0433 * b,
        0.0691 * r + 0.9195 * g + 0.0114 * b,
        0.0164 * r + 0.0880 * g + 0.8956 * b,
    )
    red, green, blue = (_pq(one) if curve == "pq" else _hlg(one) for one in wide)
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    return (
        round(64 + 876 * luma),
        round(512 + 896 * (blue - luma) / 1.8814),
        round(512 + 896 * (red - luma) / 1.4746),
    )


def _pq(linear: float) -> float:
    y = (max(linear, 0) * 203 / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def _hlg(linear: float) -> float:
    scene = (max(linear, 0) * 0.203) ** (1 / 1.2)  # of a screen of 1000 candela, without its gamma
    if scene <= 1 / 12:
        return math.sqrt(3 * scene)
    return 0.17883277 * math.log(12 * scene - 0.28466892) + 0.55991073
