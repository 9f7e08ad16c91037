"""Files that tell on their owner, as cameras, phones and editors write them.

Each of the markers stands somewhere in them; `told` searches bytes for every one, in every spelling
a file may use.
"""

import contextlib
import struct
import zlib
from pathlib import Path
from typing import Any

import av
from PIL import ExifTags, Image

from tests.support import samples

MARKERS = ("Pixelworks", "Tell-Tale 9", "SN-4711-0815", "Rosa Lindqvist", "12 Elm Street",
           "+42.3611-071.0570", "2026:09:21 10:13:19", "basement behind the boiler")  # fmt: skip
CAMERA, MODEL, SERIAL, PERSON, STREET, PLACE, MOMENT, WORDS = MARKERS
XMP = (
    "<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x='adobe:ns:meta/'>"
    f"{PERSON} {STREET} {PLACE}</x:xmpmeta>"
)


def told(content: bytes) -> list[str]:
    """Which of the markers can still be found, plain, packed or in two bytes a letter."""
    texts = [content, *_unpacked(content)]
    spellings = {
        marker: [marker.encode(), marker.encode("utf-16-le"), marker.encode("utf-16-be")]
        for marker in (*MARKERS, "Exif\0\0II", "xmpmeta", "Photoshop", "x264", "GPS")
    }
    return [
        marker
        for marker, ways in spellings.items()
        if any(way in text for way in ways for text in texts)
    ]


def _unpacked(content: bytes) -> list[bytes]:
    found = []
    for start in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"):
        at = content.find(start)
        while at >= 0:
            with contextlib.suppress(zlib.error):
                found.append(zlib.decompressobj().decompress(content[at:], 1_000_000))
            at = content.find(start, at + 1)
    return found


def exif(turned: int = 6) -> bytes:
    """What a phone writes: itself, its number, its owner, when and where, and a small picture."""
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = turned
    tags[ExifTags.Base.Make], tags[ExifTags.Base.Model] = CAMERA, MODEL
    tags[ExifTags.Base.Artist], tags[ExifTags.Base.ImageDescription] = PERSON, STREET
    tags[ExifTags.Base.DateTime] = MOMENT
    more = tags.get_ifd(ExifTags.IFD.Exif)
    more[ExifTags.Base.DateTimeOriginal], more[ExifTags.Base.OffsetTimeOriginal] = MOMENT, "-04:00"
    more[ExifTags.Base.BodySerialNumber] = SERIAL
    more[ExifTags.Base.UserComment] = b"ASCII\0\0\0" + WORDS.encode()
    more[ExifTags.Base.MakerNote] = b"Apple iOS\0" + PLACE.encode()
    gps = tags.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLongitudeRef] = "N", "W"
    gps[ExifTags.GPS.GPSLatitude] = (42.0, 21.0, 39.96)
    gps[ExifTags.GPS.GPSLongitude] = (71.0, 3.0, 25.2)
    return tags.tobytes()


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def telling_jpeg(turned: int = 6, **options: Any) -> bytes:
    """A photo as phones and editors leave it: EXIF with a thumbnail, XMP, IPTC, a comment, MPF,
    a maker's own block, and a second picture with a film behind the end."""
    photo = samples.packed(samples.corner_picture(), "JPEG", exif=exif(turned), **options)
    small = samples.packed(samples.corner_picture(64, 48), "JPEG", comment=PERSON.encode())
    iptc = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(STREET)) + STREET.encode()
    extra = b"".join(
        (
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP.encode()),
            segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + XMP.encode()),
            segment(0xED, b"Photoshop 3.0\0" + iptc),
            segment(0xFE, WORDS.encode()),
            segment(0xE2, b"MPF\0" + PERSON.encode()),
            segment(0xE0, b"JFXX\0\x10" + small),
            segment(0xEA, b"AROT" + SERIAL.encode()),
            segment(0xE5, b"Samsung" + PLACE.encode()),
        )
    )
    at = photo.index(b"\xff\xdb")  # before the tables
    return photo[:at] + extra + photo[at:] + small + XMP.encode() + b"ftypmp42" + PLACE.encode()


def tagged(source: Path, muxer: str, **options: str) -> bytes:
    """The same tracks in a container that talks, as phones' do."""
    out = source.with_suffix(".tagged")
    with (
        av.open(str(source)) as original,
        av.open(str(out), "w", format=muxer, options=options) as copy,
    ):
        copy.metadata.update(
            {
                "location": PLACE, "location-eng": PLACE, "title": WORDS, "artist": PERSON,
                "comment": STREET, "make": CAMERA, "model": MODEL,
                "com.apple.quicktime.location.ISO6709": PLACE,
                "com.apple.quicktime.model": MODEL,
                "creation_time": "2026-09-21T10:13:19Z",
            }
        )  # fmt: skip
        tracks = {}
        for stream in original.streams:
            tracks[stream] = copy.add_stream_from_template(stream)
            tracks[stream].metadata.update({"handler_name": PERSON, "title": SERIAL})
        for packet in original.demux():
            if packet.size and packet.dts is not None:
                packet.stream = tracks[packet.stream]
                copy.mux(packet)
    return out.read_bytes()
