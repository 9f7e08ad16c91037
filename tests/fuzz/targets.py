"""What is fuzzed: each target takes an input, and raises what it must not raise."""

import base64
import contextlib
import functools
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.payloads import FOLDER
from tests.support import metadata, samples
from tests.support.pictures import picture
from tests.support.sounds import tone
from viewer import derive, quo
from viewer.derive import answers as parent
from viewer.derive.pictures import boxes, gif, icc, mend, orientation, segments
from viewer.derive.types import Unreadable
from viewer.intake import error_pages
from viewer.quo.wire import read_moment

_NOWHERE = Path("/nonexistent")
_DECLARED = (
    None, "image/jpeg", "audio/mpeg", "text/csv", "application/octet-stream", "application/smil",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "text/html", "a;b",
)  # fmt: skip
_PICTURES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/avif", "image/heic")
NOW = datetime(2026, 9, 21, 14, 13, 19, tzinfo=UTC)
STANDARD = "whsec_" + base64.b64encode(b"fuzz-standard-key-24-byt").decode()
LEGACY = base64.b64encode(b"fuzz-legacy-key-fuzz-legacy-key!").decode()


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]


# --- Seeds -----------------------------------------------------------------------------------


@functools.cache
def pictures() -> Sequence[bytes]:
    """Small ones of each format, with all kinds of metadata."""
    drawn = samples.corner_picture(64, 48)
    moving = io.BytesIO()
    drawn.save(moving, "GIF", save_all=True, append_images=[drawn.rotate(180)], comment=b"a")
    found = [
        metadata.telling_jpeg(),
        samples.packed(drawn, "JPEG", progressive=True, icc_profile=samples.p3_profile()),
        picture(16, 12),
        moving.getvalue(),
    ]
    for kind in ("PNG", "WEBP", "TIFF", "BMP"):
        options = {"exif": samples.exif(6)} if kind != "BMP" else {}
        found.append(samples.packed(drawn, kind, **options))
    for kind in ("HEIF", "AVIF"):
        found.append(samples.packed(drawn, kind, quality=50))
    return found


@functools.cache
def files() -> Sequence[bytes]:
    """Heads of everything that we know, and of what is like it."""
    words = (
        b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Pat\r\nEND:VCARD\r\n",
        b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n",
        b'<?xml version="1.0"?><gpx version="1.1"><wpt lat="0" lon="0"/></gpx>',
        b"<!doctype html><html><body><p>Sign in</p></body></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b'{"error": {"code": 403, "message": "expired"}}',
        b"Item;Price\r\nCaf\xe9 wall;1200,00 \x80\r\n",
        b"{\\rtf1\\ansi Wall.\\par}",
        b"\r\n\r\n%PDF-1.4\n%%EOF",
        b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(16) + b"\x13\0\0\0[Content_Types].xmlword/",
        bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504),
        b"#!AMR\n" + bytes(200),
        b"ID3\x03\0\0\0\0\0\x0a" + bytes(300),
        b"\xff\xfb\x90\x64" + bytes(413) + b"\xff\xfb\x90\x64" + bytes(413),
        b"OggS" + bytes(24) + b"OpusHead" + bytes(100),
        b"\x47\x40\0\x10" + b"\xff" * 184 + b"\x47\x40\x11\x10" + b"\xff" * 184,
        b"FORM\0\0\0\x20AIFFCOMM" + bytes(40),
    )
    return [*pictures(), *words, tone(0.1)]


@functools.cache
def payloads() -> Sequence[bytes]:
    return [path.read_bytes() for path in sorted(FOLDER.glob("*.json"))]


def moments() -> Sequence[bytes]:
    return [
        b"2026-09-21T14:13:19.640Z", b"2025-01-15 12:00:00 UTC", b"Wed, 15 Jan 2025 12:00:00 GMT",
        b"2025-01-15t12:00:00z", b"1737000000", b"1737000000000", b"2026-06-30T23:59:60Z",
    ]  # fmt: skip


def numbers() -> Sequence[bytes]:
    return [
        b"+16175550123", b"(617) 555-0123", b"+1 617 555 0123;ext=12", b"72345", b"anonymous",
        b"sip:+16175550151@sip.example", b"+266696687", b"tel:+44-20-7946-0018",
        "＋１６１７５５５０１２３".encode(),
    ]  # fmt: skip


def headers() -> Sequence[bytes]:
    """A line for each header, then the body."""
    return [
        b"webhook-id: msg_1\nwebhook-timestamp: 1790000000\nwebhook-signature: v1,AA v1,BB\n\n{}",
        b"openphone-signature: hmac;1;1639710054089;mw1K4fvh5m9gHFCiZj\n\n{}",
        b"openphone-signature: hmac;1;2026-09-21T14:13:19Z;AAAA,hmac;1;1;BB\n\n{}",
    ]


def told() -> Sequence[bytes]:
    """Answers of a decoder's process."""
    whole = derive.Derived(
        mime_type="video/mp4", media_type="video", width=640, height=480, duration_seconds=3.5,
        placeholder="data:image/webp;base64,UklGRg==", peaks=[0, 50, 100], problem="No copy.",
    )  # fmt: skip
    clean = {"file": "clean.mp4", "mime_type": "video/mp4", "is_remade": False}
    described = {"camera": "Phone", "lens": None, "taken_at": "2026-09-21", "place": None}
    refusals = {"unreadable": "It is broken.", "is_broken": True}, {"no_room": "Full."}
    given = (asdict(whole), clean, described, *refusals, [], None, 1e999)
    return [json.dumps(one).encode() + b"\n" for one in given]


# --- Targets ---------------------------------------------------------------------------------


def sniff(content: bytes) -> None:
    """Whatever was declared, by which the first byte chooses."""
    declared = _DECLARED[content[0] % len(_DECLARED)] if content else None
    kind = derive.sniff(content, declared, "a.docx")
    assert derive.KINDS[kind.mime_type] is kind
    said = error_pages.Said(declared, is_sound=bool(len(content) % 2))
    assert error_pages.judge(content, kind, said) in error_pages.Verdict


def clean(content: bytes) -> None:
    """Whatever the walk through the segments makes of it, it makes the same of its own work."""
    for take_apart in (segments.jpeg, segments.png, segments.webp, gif.cleaned):
        with contextlib.suppress(Unreadable):
            made = b"".join(take_apart(content))
            assert b"".join(take_apart(made)) == made


def judge(content: bytes) -> None:
    """What reads a picture's own bytes before and after its decoder."""
    for mime in _PICTURES:
        kind = derive.KINDS[mime]
        found = orientation.read_orientation(io.BytesIO(content), kind)
        assert 1 <= found.value <= 8
        mend.mended(content, kind)
        mend.is_all_there(content, kind)
        mend.filled_up(content, kind)
    boxes.read_properties(io.BytesIO(content))
    boxes.without_notes(content)


def answers(content: bytes) -> None:
    """What a decoder that was taken over may write."""
    with contextlib.suppress(derive.DeriveError):
        told = parent.last_answer(content, None)
        for read in (parent.cleaned, parent.described):
            with contextlib.suppress(derive.DeriveError):
                read(told, _NOWHERE)
        found = parent.derived(told, _NOWHERE, "video/mp4")
        assert found.thumbnail is None  # there is no such file
        assert found.mime_type in ("video/mp4", "audio/mp4") or found.media_type == "audio"
        assert found.duration_seconds is None or math.isfinite(found.duration_seconds)


def profile(content: bytes) -> None:
    made = icc.cleaned(content)
    assert made is None or icc.cleaned(made) == made


def dialects(content: bytes) -> None:
    try:
        told = quo.read_json(content)
        quo.kind_of(told)
        quo.identifier(told)
        quo.urls_in(told)
        seen = quo.understand(told, received_at=NOW)
    except quo.NotUnderstood:
        return
    assert seen is not None


def moment(content: bytes) -> None:
    found = read_moment(content.decode(errors="replace"))
    assert found is None or found.utcoffset() == timedelta(0)


def number(content: bytes) -> None:
    text = content.decode(errors="replace")
    found = quo.canonical(text)
    assert quo.canonical(found) == found or not quo.is_number(found)
    quo.display(found)
    assert "/" not in quo.folder_name(found)


def signature(content: bytes) -> None:
    lines, _, body = content.partition(b"\n\n")
    pairs = [line.decode("latin-1").partition(":")[::2] for line in lines.split(b"\n")]
    given = {name.strip(): value.strip() for name, value in pairs}
    try:
        quo.open_delivery(given, body, [STANDARD, LEGACY], NOW)
    except quo.NotFromQuo:
        return
    raise AssertionError("nothing here is signed with our keys")


TARGETS = (
    Target("sniff", sniff, files),
    Target("segments", clean, pictures),
    Target("pictures", judge, pictures),
    Target("answers", answers, told),
    Target("icc", profile, lambda: [samples.p3_profile()]),
    Target("dialects", dialects, payloads),
    Target("moments", moment, moments),
    Target("numbers", number, numbers),
    Target("signatures", signature, headers),
)
