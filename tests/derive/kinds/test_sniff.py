"""What a file is, told from its bytes: checked on real files from real encoders."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from tests.support import samples
from viewer.derive import INLINE_TYPES, sniff

PICTURE = samples.corner_picture(64, 48)


@pytest.mark.parametrize(
    ("format_", "mime_type"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("GIF", "image/gif"),
        ("WEBP", "image/webp"),
        ("AVIF", "image/avif"),
        ("HEIF", "image/heic"),
        ("TIFF", "image/tiff"),
        ("BMP", "image/bmp"),
    ],
)
def test_photos_are_recognised(format_, mime_type):
    kind = sniff(samples.packed(PICTURE, format_))

    assert (kind.mime_type, kind.media_type) == (mime_type, "photo")
    assert mime_type in INLINE_TYPES


@pytest.mark.parametrize(
    ("codec", "container", "rate", "mime_type"),
    [
        ("libmp3lame", "mp3", 44100, "audio/mpeg"),
        ("libmp3lame", "mp3", 8000, "audio/mpeg"),
        ("aac", "ipod", 44100, "audio/mp4"),
        ("aac", "adts", 44100, "audio/aac"),
        ("libopencore_amrnb", "amr", 8000, "audio/amr"),
        ("libopus", "ogg", 48000, "audio/ogg"),
        ("flac", "ogg", 44100, "audio/ogg"),
        ("flac", "flac", 44100, "audio/flac"),
        ("pcm_s16le", "wav", 44100, "audio/wav"),
        ("alac", "caf", 44100, "audio/x-caf"),
        ("wmav2", "asf", 44100, "audio/x-ms-wma"),
    ],
)
def test_recordings_are_recognised(tmp_path, codec, container, rate, mime_type):
    path = samples.sound(tmp_path / "recording", codec, container, 0.5, rate)

    kind = sniff(path.read_bytes())

    assert (kind.mime_type, kind.media_type) == (mime_type, "audio")
    assert mime_type in INLINE_TYPES


@pytest.mark.parametrize(
    ("codec", "container", "mime_type"),
    [
        ("libx264", "mp4", "video/mp4"),
        ("libx264", "mov", "video/quicktime"),
        ("libx264", "3gp", "video/3gpp"),
        ("libx264", "3g2", "video/3gpp2"),
        ("libx264", "matroska", "video/x-matroska"),
        ("libvpx", "webm", "video/webm"),
        ("mpeg4", "avi", "video/x-msvideo"),
        ("wmv2", "asf", "video/x-ms-wmv"),
    ],
)
def test_films_are_recognised(tmp_path, codec, container, mime_type):
    path = samples.film(tmp_path / "film", codec, container, size=(64, 48), frames=3)

    kind = sniff(path.read_bytes())

    assert (kind.mime_type, kind.media_type) == (mime_type, "video")


def test_mp3_without_any_tag_is_recognised_by_its_frames(tmp_path):
    path = samples.sound(
        tmp_path / "bare", "libmp3lame", "mp3", 0.5, write_xing="0", id3v2_version="0"
    )

    assert not path.read_bytes().startswith(b"ID3")
    assert sniff(path.read_bytes()).mime_type == "audio/mpeg"


@pytest.mark.parametrize(
    ("body", "mime_type"),
    [
        (b"%PDF-1.7\n", "application/pdf"),
        (b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Dana Example\r\nEND:VCARD\r\n", "text/vcard"),
        ("\ufeffbegin:vcard\nFN:Zoë\n".encode(), "text/vcard"),
        (b"BEGIN:VCALENDAR\r\n", "text/calendar"),
        (b"\n\n <!-- proxy --> <!DOCTYPE html><html>", "text/html"),
        (b"<h1>502 Bad Gateway</h1>", "text/html"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "application/xml"),
        (b"<?xml version='1.0'?><!-- a --><svg onload='alert(1)'/>", "image/svg+xml"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (json.dumps({"message": "expired"}).encode(), "application/json"),
        (b'[{"n": 1}, ' + b'{"n": 2}, ' * 9000, "application/json"),
        (b"[see you tomorrow]", "text/plain"),
        (b"<3 thanks", "text/plain"),
        ("Grüße\n".encode("utf-16"), "text/plain"),
        (("é" * 40000).encode(), "text/plain"),
        (b"BMW in the driveway", "text/plain"),
        (b"", "application/octet-stream"),
        (b"MZ\x90\x00\x03", "application/octet-stream"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "text/plain"),
        (b"8BPS\x00\x01" + bytes(20), "application/octet-stream"),
        (b"\xff\xfb\x90\x64" + bytes(2000), "application/octet-stream"),
        (bytes(range(256)) * 20, "application/octet-stream"),
    ],
)
def test_documents_are_recognised_and_never_shown_inline(body, mime_type):
    kind = sniff(body)

    assert (kind.mime_type, kind.media_type) == (mime_type, "document")
    assert mime_type not in INLINE_TYPES


def test_zip_is_recognised():
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("a.txt", "a")

    assert sniff(body.getvalue()).extension == "zip"


@pytest.mark.parametrize(
    "body", [b"<html>sign in</html>", b'{"error": 1}', b"Not Found", b"<?xml version='1.0'?><a/>"]
)
def test_text_in_place_of_a_photo_is_called_an_error_page(body):
    assert sniff(body).may_be_error_page


def test_real_media_is_no_error_page(tmp_path: Path):
    assert not sniff(samples.packed(PICTURE, "JPEG")).may_be_error_page
    assert not sniff(b"%PDF-1.4").may_be_error_page
