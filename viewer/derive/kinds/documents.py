"""Tell documents apart that have a mark of their own: PDF, RTF, office files old and new.

The bytes say what a file can be; among that, the declared type and the name choose. They never make
a web page of a text, nor of any file one that runs: an app or program in a ZIP stays a ZIP.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_OPEN = "application/vnd.openxmlformats-officedocument."
_ODF = "application/vnd.oasis.opendocument."

# MIME type -> extension. Capitals are not told apart in types: ours are small.
ENDINGS = {
    "application/pdf": "pdf",
    "application/rtf": "rtf",
    "application/zip": "zip",
    f"{_OPEN}wordprocessingml.document": "docx",
    f"{_OPEN}wordprocessingml.template": "dotx",
    f"{_OPEN}spreadsheetml.sheet": "xlsx",
    f"{_OPEN}spreadsheetml.template": "xltx",
    f"{_OPEN}presentationml.presentation": "pptx",
    f"{_OPEN}presentationml.template": "potx",
    f"{_OPEN}presentationml.slideshow": "ppsx",
    "application/vnd.ms-word.document.macroenabled.12": "docm",
    "application/vnd.ms-word.template.macroenabled.12": "dotm",
    "application/vnd.ms-excel.sheet.macroenabled.12": "xlsm",
    "application/vnd.ms-excel.template.macroenabled.12": "xltm",
    "application/vnd.ms-excel.sheet.binary.macroenabled.12": "xlsb",
    "application/vnd.ms-powerpoint.presentation.macroenabled.12": "pptm",
    "application/vnd.ms-powerpoint.template.macroenabled.12": "potm",
    "application/vnd.ms-powerpoint.slideshow.macroenabled.12": "ppsm",
    f"{_ODF}text": "odt",
    f"{_ODF}text-template": "ott",
    f"{_ODF}spreadsheet": "ods",
    f"{_ODF}spreadsheet-template": "ots",
    f"{_ODF}presentation": "odp",
    f"{_ODF}graphics": "odg",
    "application/epub+zip": "epub",
    "application/vnd.apple.pages": "pages",
    "application/vnd.apple.numbers": "numbers",
    "application/vnd.apple.keynote": "key",
    "application/vnd.apple.pkpass": "pkpass",
    "application/vnd.google-earth.kmz": "kmz",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.ms-outlook": "msg",
    "application/xml": "xml",
    "application/xhtml+xml": "xhtml",
    "application/gpx+xml": "gpx",
    "application/vnd.google-earth.kml+xml": "kml",
    "application/smil": "smil",
    "application/json": "json",
    "image/svg+xml": "svg",  # a program as much as a picture
    "message/rfc822": "eml",
    "text/html": "html",
    "text/vcard": "vcf",
    "text/calendar": "ics",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "text/markdown": "md",
    "application/vnd.wap.wbxml": "wbxml",
    "text/vnd.wap.wml": "wml",
    "text/x-imelody": "imy",  # a ring tone, written as notes
    "text/plain": "txt",
}
_BY_ENDING = {ending: mime for mime, ending in ENDINGS.items()} | {
    "htm": "text/html", "vcs": "text/calendar", "tab": "text/tab-separated-values",
    "markdown": "text/markdown", "smi": "application/smil",
}  # fmt: skip
_OTHER_NAMES = {
    "application/csv": "text/csv", "text/comma-separated-values": "text/csv",
    "text/x-csv": "text/csv", "application/x-pdf": "application/pdf",
    "application/smil+xml": "application/smil", "text/xml": "application/xml",
    "text/rtf": "application/rtf", "application/x-rtf": "application/rtf",
    "application/x-zip-compressed": "application/zip", "text/x-vcard": "text/vcard",
    "text/directory": "text/vcard", "text/x-vcalendar": "text/calendar",
    "application/x-iwork-pages-sffpages": "application/vnd.apple.pages",
    "application/x-iwork-numbers-sffnumbers": "application/vnd.apple.numbers",
    "application/x-iwork-keynote-sffkey": "application/vnd.apple.keynote",
    "application/vnd.ms-word": "application/msword", "application/doc": "application/msword",
    "application/x-msexcel": "application/vnd.ms-excel",
    "application/mspowerpoint": "application/vnd.ms-powerpoint",
    "text/x-markdown": "text/markdown", "application/gpx": "application/gpx+xml",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hints:
    """What others say a file is. Either may be wrong or missing."""

    declared: str = ""  # MIME type, small, without parameters
    named: str = ""  # extension, small

    @classmethod
    def of(cls, declared: str | None, name: str | None) -> "Hints":
        mime = (declared or "").partition(";")[0].strip().lower()
        return cls(_OTHER_NAMES.get(mime, mime), (name or "").rpartition(".")[2].strip().lower())

    def choose(self, allowed: frozenset[str]) -> str | None:
        """The one of these types that they name, the declared one first."""
        said = (self.declared, _BY_ENDING.get(self.named, ""))
        return next((mime for mime in said if mime in allowed), None)

    @property
    def is_carrier_part(self) -> bool:
        wap = ("application/vnd.wap.", "text/vnd.wap.")
        return self.declared == "application/smil" or self.declared.startswith(wap)

    @property
    def is_xml(self) -> bool:
        return self.declared.endswith(("/xml", "+xml")) or self.named == "xml"


def by_signature(head: bytes, hints: Hints) -> str | None:
    """Files that begin with a mark of their own."""
    if head.startswith(b"%PDF-"):
        return "application/pdf"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):  # the second is an empty one
        return _zip(head, hints)
    if head.startswith(_OLE):
        return _ole(head, hints)
    if head.lstrip(b"\xef\xbb\xbf\r\n\t ").startswith(rb"{\rtf"):
        return "application/rtf"
    return None


def carrier_part(head: bytes, hints: Hints) -> str | None:
    """WAP's packed mark-up has no mark: that it was announced must do."""
    return "application/vnd.wap.wbxml" if head and hints.is_carrier_part else None


_LATE_PDF = re.compile(rb"(?:^|[\r\n\0])%PDF-[12]\.[0-9]")


def late_pdf(head: bytes, hints: Hints) -> str | None:
    """A PDF behind a few other bytes, which its readers allow: within the first 1,024."""
    start = head[:1024]
    is_named = hints.choose(frozenset({"application/pdf"})) is not None
    found = _LATE_PDF.search(start) or (is_named and b"%PDF-" in start)
    return "application/pdf" if found else None


# --- ZIP: the containers of office suites --------------------------------------------------------

_IN_ZIP = frozenset(
    mime
    for mime, ending in ENDINGS.items()
    if mime.startswith((_OPEN, _ODF, "application/vnd.apple.")) or ".12" in mime
    or ending in ("epub", "kmz")
)  # fmt: skip
_OPEN_XML = frozenset(mime for mime in _IN_ZIP if mime.startswith(_OPEN) or ".12" in mime)
_IWORK = frozenset({"application/vnd.apple.pages", "application/vnd.apple.numbers",
                    "application/vnd.apple.keynote"})  # fmt: skip
_MAIN_PARTS = (  # of Office Open XML: the folder says the program
    ("word/", f"{_OPEN}wordprocessingml.document"),
    ("xl/", f"{_OPEN}spreadsheetml.sheet"),
    ("ppt/", f"{_OPEN}presentationml.presentation"),
)
_ZIP = "application/zip"
_TELLING = frozenset({"mimetype", "[content_types].xml"})
_LONGEST_LISTING = 256 * 1024  # bytes of [Content_Types].xml, unpacked


def _zip(head: bytes, hints: Hints) -> str:
    parts = dict(_zip_parts(head))
    names = [name.lower() for name in parts]
    if found := _open_document(parts) or _office_open(parts, names, hints):
        return found
    if "pass.json" in names:
        return "application/vnd.apple.pkpass"
    if any(name.endswith(".kml") for name in names):
        return "application/vnd.google-earth.kmz"
    if any(name.startswith("index/") and name.endswith(".iwa") for name in names):
        slides = any(name.startswith("index/slide") for name in names)
        return "application/vnd.apple.keynote" if slides else hints.choose(_IWORK) or _ZIP
    if b"PK\x05\x06" in head and not any(name.startswith("index") for name in names):
        return _ZIP  # we see all of it, and it is none of these
    return hints.choose(_IN_ZIP) or _ZIP


def _zip_parts(head: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each part in the head, as far as they are there.

    Only what says the type is unpacked.
    """
    at = 0
    while head[at : at + 4] == b"PK\x03\x04" and len(head) >= at + 30:
        flags = int.from_bytes(head[at + 6 : at + 8], "little")
        packed = int.from_bytes(head[at + 8 : at + 10], "little") == 8
        size = int.from_bytes(head[at + 18 : at + 22], "little")
        name_size = int.from_bytes(head[at + 26 : at + 28], "little")
        start = at + 30 + name_size + int.from_bytes(head[at + 28 : at + 30], "little")
        name = head[at + 30 : at + 30 + name_size].decode("utf-8", "replace")
        is_stream = flags & 8 and not size  # then its size stands behind it
        end = head.find(b"PK\x03\x04", start) if is_stream else start + size
        content = head[start : end if end >= 0 else None] if name.lower() in _TELLING else b""
        yield name, _unpacked(content, packed=packed)
        if end < 0:
            return
        at = end


def _unpacked(content: bytes, *, packed: bool) -> bytes:
    if not packed:
        return content[:_LONGEST_LISTING]
    try:
        return zlib.decompressobj(-15).decompress(content[:_LONGEST_LISTING], _LONGEST_LISTING)
    except zlib.error:
        return b""


def _open_document(parts: dict[str, bytes]) -> str | None:
    """OpenDocument and EPUB say what they are in their first part."""
    if next(iter(parts), "") != "mimetype":
        return None
    mime = parts["mimetype"][:100].decode("ascii", "replace").strip().lower()
    return mime if mime in _IN_ZIP else None


def _office_open(parts: dict[str, bytes], names: list[str], hints: Hints) -> str | None:
    listing = next((c for name, c in parts.items() if name.lower() == "[content_types].xml"), None)
    if listing is None:
        return None
    said = listing.decode("utf-8", "replace").lower()
    for mime in _OPEN_XML:  # a template, macros
        if f'"{mime}.main+xml"' in said or f'"{mime.removesuffix(".12")}.main+xml"' in said:
            return mime
    folders = [
        mime for folder, mime in _MAIN_PARTS if _begins(names, folder) or f"/{folder}" in said
    ]
    if len(folders) == 1:
        return folders[0]
    return hints.choose(_OPEN_XML)


def _begins(names: list[str], folder: str) -> bool:
    return any(name.startswith(folder) for name in names)


# --- OLE: office files of before 2007 ------------------------------------------------------------

_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_STREAMS = tuple(
    (name.encode("utf-16-le"), mime)
    for name, mime in (
        ("__properties_version1.0", "application/vnd.ms-outlook"),
        ("__substg1.0_", "application/vnd.ms-outlook"),
        ("WordDocument", "application/msword"),
        ("PowerPoint Document", "application/vnd.ms-powerpoint"),
        ("Workbook", "application/vnd.ms-excel"),
    )
)
_OLD_OFFICE = frozenset(mime for _, mime in _STREAMS)
_LOCKED = "EncryptedPackage".encode("utf-16-le")  # a new office file with a password


def _ole(head: bytes, hints: Hints) -> str | None:
    """By its streams. One file holds others of other kinds: the first name in it is its own."""
    if _LOCKED in head:
        return hints.choose(_OPEN_XML)
    at = {mime: place for name, mime in _STREAMS if (place := head.find(name)) >= 0}
    wanted = hints.choose(_OLD_OFFICE)
    if not at:  # the list of streams may stand anywhere
        return wanted
    return wanted if wanted in at else min(at, key=at.__getitem__)
