"""Sounds and films without a signature are recognised, and nothing else is taken for one."""

import random

import pytest

from tests.support import samples
from tests.support.sounds import ODD, bare_mp3, gsm, packed
from viewer.derive import sniff

PICTURES = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "HEIF", "TIFF", "BMP")


@pytest.mark.parametrize("name", ODD)
def test_odd_sounds_are_recognised_with_their_ending(name, tmp_path):
    make, _, extension = ODD[name]

    kind = sniff(make(tmp_path))

    assert kind.extension == extension
    assert kind.media_type in ("audio", "video")


@pytest.mark.parametrize("size", [188, 192])
@pytest.mark.parametrize("lost", [0, 77])
def test_transport_streams_are_recognised_wherever_they_begin(size, lost, tmp_path):
    film = samples.film(tmp_path / "film", container="mpegts").read_bytes()
    packets = [film[at : at + 188] for at in range(0, len(film), 188)]
    stamped = b"".join(bytes(size - 188) + packet for packet in packets)

    assert sniff(stamped[lost:]).mime_type == "video/mp2t"


def test_program_streams_and_flash_are_recognised(tmp_path):
    for codec, container, mime_type in (
        ("mpeg1video", "mpeg", "video/mpeg"),
        ("mpeg2video", "vob", "video/mpeg"),
        ("flv", "flv", "video/x-flv"),
    ):
        # At 25 frames a second: MPEG knows no 10.
        film = samples.film(tmp_path / container, codec, container, (64, 48), frames=5, rate=25)
        assert sniff(film.read_bytes()).mime_type == mime_type


def test_sound_behind_an_id3_tag_is_what_it_is(tmp_path):
    tag = b"ID3\x04\x00\x00\x00\x00\x00\x14" + bytes(20)

    assert sniff(tag + bare_mp3(tmp_path)).mime_type == "audio/mpeg"
    assert sniff(tag + packed(tmp_path, "flac", "flac", rate=16000)).mime_type == "audio/flac"
    assert sniff(tag + packed(tmp_path, "aac", "adts", rate=16000)).mime_type == "audio/aac"


def test_a_few_frames_after_junk_are_chance(tmp_path):
    frames = bare_mp3(tmp_path)
    size = 72 * 64_000 // 16_000

    assert sniff(b"junk" + frames[: 5 * size] + bytes(3000)).mime_type == "audio/mpeg"
    assert sniff(b"junk" + frames[: 4 * size] + bytes(3000)).media_type == "document"


def test_random_bytes_are_no_sound():
    noise = random.Random(12)
    found = {sniff(noise.randbytes(64 * 1024)).media_type for _ in range(200)}
    full_of_syncs = bytes(noise.choice((0xFF, 0xFB, 0xF3, 0x90, 0x64, 0)) for _ in range(64 * 1024))

    assert found == {"document"}
    assert sniff(full_of_syncs).media_type == "document"


@pytest.mark.parametrize(
    "text",
    [
        "G" * 5000,
        "\n".join(["Grandma's wall, 4 m" + " " * 168] * 40),
        "ÿû" * 3000,
        "Wall\n".encode("utf-16").decode("latin-1") * 100,
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_text_is_no_sound(text, encoding):
    assert sniff(text.encode(encoding)).media_type == "document"


@pytest.mark.parametrize("format_", PICTURES)
def test_pictures_are_no_sound(format_):
    for width in (1, 64, 900):
        picture = samples.packed(samples.corner_picture(width, 48), format_)
        assert sniff(picture).media_type == "photo"


def test_zeros_alone_are_nothing():
    assert sniff(bytes(64 * 1024)).mime_type == "application/octet-stream"
    assert sniff(gsm()[:100]).mime_type == "application/octet-stream"
