"""Tell what a file is from its first bytes, because names and declared types lie.

Only the types that phones really send. Nothing is decoded here: what an image or a film
holds is the business of the derive child, which is told by us which decoder to use.
"""

from dataclasses import dataclass
from typing import Literal

from viewer.derive.kinds import documents, framed, texts

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
        Kind("video/mp2t", "video", "ts"),  # camcorders (.mts), television, screen recorders
        Kind("video/mpeg", "video", "mpg"),
        Kind("video/x-flv", "video", "flv"),
        Kind("video/ogg", "video", "ogv"),
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
        Kind("audio/mp2", "audio", "mp2"),  # MPEG audio of layers I and II
        Kind("audio/aiff", "audio", "aiff"),
        Kind("audio/basic", "audio", "au"),
        Kind("audio/x-w64", "audio", "w64"),
        Kind("audio/x-gsm", "audio", "gsm"),  # telephone systems; no header at all
        Kind("audio/qcelp", "audio", "qcp"),
        # Video containers in which derive() found only sound; sniff() never answers these.
        Kind("audio/webm", "audio", "weba"),
        Kind("audio/3gpp", "audio", "3gp"),
        Kind("audio/3gpp2", "audio", "3g2"),
        Kind("audio/x-matroska", "audio", "mka"),
        Kind("audio/x-msvideo", "audio", "avi"),
        Kind("audio/mp2t", "audio", "ts"),
        Kind("audio/x-mpeg-ps", "audio", "mpg"),
        Kind("audio/x-flv", "audio", "flv"),
        # Cameras' raw files: what they show without a program of their own is a small picture.
        Kind("image/x-adobe-dng", "document", "dng"),
        Kind("image/x-canon-cr2", "document", "cr2"),
        Kind("image/x-canon-cr3", "document", "cr3"),
        Kind("image/x-nikon-nef", "document", "nef"),
        Kind("image/x-sony-arw", "document", "arw"),
        Kind("image/x-pentax-pef", "document", "pef"),
        Kind("image/x-samsung-srw", "document", "srw"),
        Kind("image/x-olympus-orf", "document", "orf"),
        Kind("image/x-panasonic-rw2", "document", "rw2"),
        Kind("image/x-fuji-raf", "document", "raf"),
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
        or _chunked(head)
        or _tiff(head)
        or _iso_media(head)
        or _matroska(head)
        or _ogg(head)
        or _windows_media(head)
        or _bitmap(head)
        or framed.mime_type(head)
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
    (b"IIRO", "image/x-olympus-orf"),
    (b"IIRS", "image/x-olympus-orf"),
    (b"MMOR", "image/x-olympus-orf"),
    (b"IIU\x00", "image/x-panasonic-rw2"),
    (b"FUJIFILMCCD-RAW ", "image/x-fuji-raf"),
    (b"#!AMR-WB\n", "audio/amr-wb"),
    (b"#!AMR\n", "audio/amr"),
    (b"fLaC", "audio/flac"),
    (b"caff\x00\x01", "audio/x-caf"),
    (b"FLV\x01", "video/x-flv"),
    (b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00", "audio/x-w64"),
)


def _by_signature(head: bytes) -> str | None:
    return next((mime for start, mime in _SIGNATURES if head.startswith(start)), None)


_CHUNKED = {
    (b"RIFF", b"WEBP"): "image/webp",
    (b"RIFF", b"WAVE"): "audio/wav",
    (b"RIFX", b"WAVE"): "audio/wav",  # its numbers the other way round
    (b"RF64", b"WAVE"): "audio/wav",  # for more than four gigabytes
    (b"BW64", b"WAVE"): "audio/wav",
    (b"RIFF", b"AVI "): "video/x-msvideo",
    (b"RIFF", b"QLCM"): "audio/qcelp",
    (b"FORM", b"AIFF"): "audio/aiff",
    (b"FORM", b"AIFC"): "audio/aiff",
}


def _chunked(head: bytes) -> str | None:
    """RIFF and its relatives."""
    if head[:4] == b".snd" and 24 <= int.from_bytes(head[4:8], "big") <= HEAD_SIZE:
        return "audio/basic"
    return _CHUNKED.get((head[:4], head[8:12]))


_MAKERS_OF_RAW = (
    (b"NIKON", "image/x-nikon-nef"),
    (b"SONY", "image/x-sony-arw"),
    (b"PENTAX", "image/x-pentax-pef"),
    (b"RICOH", "image/x-pentax-pef"),
    (b"SAMSUNG", "image/x-samsung-srw"),
    (b"Canon", "image/x-canon-cr2"),
)
_REDUCED, _MAKER, _MORE_FOLDERS, _DNG_VERSION = 254, 271, 330, 50706  # tags


def _tiff(head: bytes) -> str | None:
    """A TIFF, or a camera's raw file: that is one too, whose first picture is a small copy."""
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    if head[:4] not in (b"II*\x00", b"MM\x00*"):
        return None
    if head[8:10] == b"CR":
        return "image/x-canon-cr2"
    folder = int.from_bytes(head[4:8], order)
    count = int.from_bytes(head[folder : folder + 2], order)
    found = {}
    for at in range(folder + 2, min(folder + 2 + 12 * count, len(head) - 11), 12):
        kind, entry = int.from_bytes(head[at + 2 : at + 4], order), head[at + 8 : at + 12]
        found[int.from_bytes(head[at : at + 2], order)] = int.from_bytes(
            entry[:2] if kind == 3 else entry, order
        )
    if _DNG_VERSION in found:
        return "image/x-adobe-dng"
    if _MORE_FOLDERS in found and found.get(_REDUCED, 0) & 1:
        maker = head[found.get(_MAKER, len(head)) :][:16]
        return next((mime for name, mime in _MAKERS_OF_RAW if maker.startswith(name)), "image/tiff")
    return "image/tiff"


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
    if major == b"crx ":
        return "image/x-canon-cr3"
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
    if b"\x80theora" in head[:4096]:
        return "video/ogg"
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
