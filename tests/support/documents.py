"""Documents as people send them, made at test time: each as its programs write it."""

import io
import struct
import zipfile

OPEN = "application/vnd.openxmlformats-officedocument."
ODF = "application/vnd.oasis.opendocument."


def packed(parts: dict[str, str | bytes], *, stored: tuple[str, ...] = ()) -> bytes:
    """A ZIP of these parts, in this order."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in parts.items():
            kind = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            archive.writestr(name, content, kind)
    return out.getvalue()


def office(main: str, folder: str) -> bytes:
    """An office file since 2007, whose main part has this type."""
    listing = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        f'<Override PartName="/{folder}/main.xml" ContentType="{main}.main+xml"/></Types>'
    )
    return packed(
        {"[Content_Types].xml": listing, "_rels/.rels": "<r/>", f"{folder}/main.xml": "<m/>"}
    )


def streamed(content: bytes) -> bytes:
    """The same ZIP as if it was written into a pipe: sizes stand behind each part."""
    out = io.BytesIO()

    class Pipe(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            return out.write(data)

    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(Pipe(), "w") as archive:
        for part in source.infolist():
            archive.writestr(part.filename, source.read(part), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def self_described(mime_type: str, **parts: str) -> bytes:
    """An OpenDocument or EPUB file: its first part says what it is."""
    return packed({"mimetype": mime_type, "content.xml": "<c/>", **parts}, stored=("mimetype",))


def ole(*streams: str) -> bytes:
    """An office file of before 2007: a header, and the list of its streams."""
    header = bytes.fromhex("d0cf11e0a1b11ae1").ljust(512, b"\0")
    names = ("Root Entry", *streams)
    entries = (name.encode("utf-16-le").ljust(128, b"\0") for name in names)
    return header + b"".join(entries) + struct.pack("<I", 7) * 200


SMIL = (
    b'<smil><head><layout><root-layout/></layout></head><body><par dur="5000ms">'
    b'<img src="a.jpg"/></par></body></smil>'
)
GPX = b'<?xml version="1.0"?>\n<gpx version="1.1" creator="none"><wpt lat="0" lon="0"/></gpx>'
KML = b'<kml xmlns="http://www.opengis.net/kml/2.2"><Placemark><name>Well</name></Placemark></kml>'
XHTML = (
    b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x.dtd">'
    b'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Offer</title></head></html>'
)
NOTE = b'<?xml version="1.0"?><offer><sum>1200</sum></offer>'
PAGE = b"<!doctype html><html><head><title>Our offer</title></head><body><p>Wall</p></body></html>"
LOGIN = b"<html><head><title>Sign in</title></head><body><input type=password></body></html>"
S3_ERROR = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>'
    b"<Message>Request has expired</Message><RequestId>0</RequestId></Error>"
)
GCS_ERROR = (
    b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>ExpiredToken</Code>"
    b"<Message>Invalid argument.</Message><Details>The token has expired.</Details></Error>"
)
TABLE = "Item;Price\r\nCafé wall, 4 m;1200,00 €\r\n"
CARD = "BEGIN:VCARD\r\nVERSION:2.1\r\nN;CHARSET=ISO-8859-1:Café;Zoë\r\nEND:VCARD\r\n"
MAIL = b"From: pat@example.com\r\nTo: us@example.com\r\nMIME-Version: 1.0\r\n\r\nThe wall\r\n"
