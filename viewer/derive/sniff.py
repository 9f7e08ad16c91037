"""Tell what a file is from its first bytes, because names and declared types lie.

Only the types that phones really send. Nothing is decoded here: what an image or a film
holds is the business of the derive child, which is told by us which decoder to use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from viewer.derive import documents, texts

MediaType = Literal["photo", "video", "audio", "document"]

HEAD_SIZE = 64 * 1024  # bytes that sniff() likes to see; fewer are fine


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is, and how we name, show and serve it."""

    mime_type: str
    media_type: MediaType
    extension: str  # without the dot
    browser_plays: bool = False  # shown or played by every browser as it is

    @property
    def is_carrier_part(self) -> bool:
        """What carriers add to a message, and nobody sent: the layout of its parts."""
        return is_carrier_part(self.mime_type)

    @property
    def is_web_page(self) -> bool:
        return self.mime_type in ("text/html", "application/xhtml+xml")

    @property
    def may_be_error_page(self) -> bool:
        """Text that a server may send in place of a file: a login page, an error."""
        return self.mime_type in ERROR_PAGE_TYPES


ERROR_PAGE_TYPES = frozenset(
    {"text/html", "application/xhtml+xml", "application/xml", "application/json", "text/plain"}
)

KINDS = {
    kind.mime_type: kind
    for kind in (
        Kind("image/jpeg", "photo", "jpg", browser_plays=True),
        Kind("image/png", "photo", "png", browser_plays=True),
        Kind("image/gif", "photo", "gif", browser_plays=True),
        Kind("image/webp", "photo", "webp", browser_plays=True),
        Kind("image/avif", "photo", "avif", browser_plays=True),
        Kind("image/bmp", "photo", "bmp", browser_plays=True),
        Kind("image/heic", "photo", "heic"),
        Kind("image/heif", "photo", "heif"),
        Kind("image/tiff", "photo", "tif"),
        # For containers browser_plays means "usually": derive() looks at the codecs within.
        Kind("video/mp4", "video", "mp4", browser_plays=True),
        Kind("video/webm", "video", "webm", browser_plays=True),
        Kind("video/quicktime", "video", "mov"),
        Kind("video/3gpp", "video", "3gp"),
        Kind("video/3gpp2", "video", "3g2"),
        Kind("video/x-matroska", "video", "mkv"),
        Kind("video/x-msvideo", "video", "avi"),
        Kind("video/x-ms-wmv", "video", "wmv"),
        Kind("audio/mpeg", "audio", "mp3", browser_plays=True),
        Kind("audio/mp4", "audio", "m4a", browser_plays=True),
        Kind("audio/wav", "audio", "wav", browser_plays=True),
        Kind("audio/flac", "audio", "flac", browser_plays=True),
        Kind("audio/aac", "audio", "aac", browser_plays=True),
        Kind("audio/ogg", "audio", "ogg"),  # iPhones only since iOS 18.4
        Kind("audio/amr", "audio", "amr"),
        Kind("audio/amr-wb", "audio", "awb"),
        Kind("audio/x-caf", "audio", "caf"),
        Kind("audio/x-ms-wma", "audio", "wma"),
        # Video containers in which derive() found only sound; sniff() never answers these.
        Kind("audio/webm", "audio", "weba"),
        Kind("audio/3gpp", "audio", "3gp"),
        Kind("audio/3gpp2", "audio", "3g2"),
        Kind("application/octet-stream", "document", "bin"),
        *(Kind(mime, "document", ending) for mime, ending in documents.ENDINGS.items()),
    )
}

# May be shown within a page (with nosniff and a sandbox policy); all else is a download.
INLINE_TYPES = frozenset(k.mime_type for k in KINDS.values() if k.media_type != "document")

UNKNOWN = KINDS["application/octet-stream"]


def sniff(head: bytes, declared: str | None = None, name: str | None = None) -> Kind:
    """What the file that begins with `head` is; application/octet-stream if we cannot tell.

    Of a document the declared type and the name choose among what the bytes allow.
    """
    return KINDS[_mime_type(head[:HEAD_SIZE], documents.Hints.of(declared, name))]


def is_carrier_part(mime_type: str | None) -> bool:
    """Whether this is the type of a part that carriers add: SMIL, or one of WAP's."""
    return documents.Hints.of(mime_type, None).is_carrier_part


def _mime_type(head: bytes, hints: documents.Hints) -> str:
    return (
        _by_signature(head)
        or documents.by_signature(head, hints)
        or _riff(head)
        or _iso_media(head)
        or _matroska(head)
        or _ogg(head)
        or _windows_media(head)
        or _bitmap(head)
        or _framed_audio(head)
        or documents.late_pdf(head, hints)
        or texts.recognise(head, hints)
        or documents.carrier_part(head, hints)
        or UNKNOWN.mime_type
    )


_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"#!AMR-WB\n", "audio/amr-wb"),
    (b"#!AMR\n", "audio/amr"),
    (b"fLaC", "audio/flac"),
    (b"caff\x00\x01", "audio/x-caf"),
)


def _by_signature(head: bytes) -> str | None:
    return next((mime for start, mime in _SIGNATURES if head.startswith(start)), None)


def _riff(head: bytes) -> str | None:
    if head[:4] != b"RIFF":
        return None
    return {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}.get(head[8:12])


_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_OLD_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


def _iso_media(head: bytes) -> str | None:
    """The MP4 family: one container for photos, films and voices, told apart by its brands."""
    box = head[4:8]
    if box in _OLD_QUICKTIME_BOXES and len(head) >= 16:
        return "video/quicktime"  # older than the brands
    if box != b"ftyp" or len(head) < 12:
        return None
    size = min(int.from_bytes(head[:4], "big"), 4096)
    major = head[8:12]
    brands = {major} | {head[at : at + 4] for at in range(16, min(size, len(head)) - 3, 4)}
    if major in {b"mif1", b"msf1", b"miaf"}:  # says "a picture", the others say how it is coded
        if brands & {b"avif", b"avis"}:
            return "image/avif"
        return "image/heic" if brands & _HEIC_BRANDS else "image/heif"
    if major in _HEIC_BRANDS:
        return "image/heic"
    if major in {b"avif", b"avis"}:
        return "image/avif"
    if major == b"qt  ":
        return "video/quicktime"
    if major in {b"M4A ", b"M4B ", b"M4P "}:
        return "audio/mp4"
    if major.startswith(b"3g2"):
        return "video/3gpp2"
    if major.startswith(b"3g"):
        return "video/3gpp"
    return "video/mp4"


def _matroska(head: bytes) -> str | None:
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    return "video/webm" if b"webm" in head[:256] else "video/x-matroska"


def _ogg(head: bytes) -> str | None:
    if not head.startswith(b"OggS"):
        return None
    sound = (b"OpusHead", b"\x01vorbis", b"Speex   ", b"\x7fFLAC")
    return "audio/ogg" if any(mark in head[:4096] for mark in sound) else None


_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILM = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")  # "this stream is video"


def _windows_media(head: bytes) -> str | None:
    if not head.startswith(_ASF):
        return None
    return "video/x-ms-wmv" if _ASF_FILM in head else "audio/x-ms-wma"


def _bitmap(head: bytes) -> str | None:
    # "BM" alone begins many a text; the size of the second header is one of a few.
    known = {12, 40, 52, 56, 64, 108, 124}
    is_bitmap = head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in known
    return "image/bmp" if is_bitmap else None


def _framed_audio(head: bytes) -> str | None:
    """MP3 and AAC have no signature, only frames that each tell where the next begins."""
    tag = 0
    if head.startswith(b"ID3") and len(head) >= 10:
        # Seven bits a byte, so that no size looks like a frame.
        tag = 10 + sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
        )
        if tag >= len(head):
            return "audio/mpeg"  # a tag with a large cover: the frames are beyond our sight
    for mime, length in (("audio/mpeg", _mp3_frame), ("audio/aac", _adts_frame)):
        if _frames_follow(head, tag, length):
            return mime
    return "audio/mpeg" if tag else None


def _frames_follow(head: bytes, at: int, length: Callable[[bytes], int | None]) -> bool:
    """Three frames in a row, or fewer that end exactly with the file; one alone is chance."""
    for seen in range(3):
        if seen and at == len(head):
            return True
        size = length(head[at : at + 6])
        if size is None:
            return False
        at += size
    return True


_MP3_KILOBITS = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG 1
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG 2 and 2.5
}
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _mp3_frame(header: bytes) -> int | None:
    """Bytes of the layer III frame with this header, None if it is not one."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, bit_rate, sample_rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version not in _MP3_RATES or not 0 < bit_rate < 15 or sample_rate == 3:
        return None
    first = version == 3
    bits = _MP3_KILOBITS[first][bit_rate - 1] * 1000
    padding = header[2] >> 1 & 1
    return (144 if first else 72) * bits // _MP3_RATES[version][sample_rate] + padding


def _adts_frame(header: bytes) -> int | None:
    """Bytes of the AAC frame with this header, None if it is not one."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return None
    if header[2] >> 2 & 15 > 12:  # no such sampling rate
        return None
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return size if size > 7 else None
