"""A clean copy shows and plays all there was, and tells nothing else.

The originals are those of `tests/support/metadata.py`, full of markers; afterwards the bytes are
searched for each of them.
"""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageStat, PngImagePlugin

from tests.support import samples
from tests.support.metadata import (
    CAMERA,
    MARKERS,
    MODEL,
    PERSON,
    PLACE,
    SERIAL,
    STREET,
    WORDS,
    XMP,
    exif,
    tagged,
    telling_jpeg,
    told,
)
from viewer.derive import Cleaned, Unreadable, clean, describe, sniff


@pytest.fixture
def cleaned(tmp_path: Path) -> Callable[..., Cleaned]:
    """The clean copy of a file or of bytes; the original must come out as it went in."""

    def make(original: Path | bytes, mime_type: str | None = None) -> Cleaned:
        content = original if isinstance(original, bytes) else original.read_bytes()
        source, into = tmp_path / "source", tmp_path / "cleaned"
        source.write_bytes(content)
        source.chmod(0o400)
        into.mkdir(exist_ok=True)
        found = clean(source, mime_type or sniff(content).mime_type, into)
        assert source.read_bytes() == content
        source.chmod(0o600)
        return found

    return make


# --- Photos --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO")
@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"optimize": True}], ids=str)
def test_a_jpeg_keeps_its_pixels_and_its_turn_and_loses_its_talk(turned, how, cleaned, tmp_path):
    original = telling_jpeg(turned, **how)
    (tmp_path / "before.jpg").write_bytes(original)
    assert set(told(original)) > set(MARKERS) - {"+42"}

    found = cleaned(original)

    after = found.file.read_bytes()
    assert told(after) == []
    assert (found.mime_type, found.is_remade) == ("image/jpeg", False)
    with Image.open(io.BytesIO(original)) as one, Image.open(io.BytesIO(after)) as other:
        assert one.tobytes() == other.tobytes()
        tags = dict(other.getexif())
        assert other.getexif().get_ifd(ExifTags.IFD.GPSInfo) == {}
    assert tags == ({} if turned == 1 else {ExifTags.Base.Orientation: turned})
    assert after.endswith(b"\xff\xd9")


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_printers_jpegs_keep_their_colours(mode, cleaned):
    original = samples.packed(samples.corner_picture().convert(mode), "JPEG", exif=exif(1))

    after = cleaned(original).file.read_bytes()

    assert told(after) == []
    with Image.open(io.BytesIO(original)) as one, Image.open(io.BytesIO(after)) as other:
        assert (one.mode, one.tobytes()) == (other.mode, other.tobytes())


def talking_profile() -> bytes:
    """A real sRGB profile with tags in it as a screen's has: its name, its number."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = int.from_bytes(profile[128:132], "big")
    extra = [(b"dscm", STREET.encode()), (b"mmod", SERIAL.encode()), (b"vued", PERSON.encode())]
    table, at = b"", 132 + 12 * (count + len(extra))
    shift = 12 * len(extra)
    for entry in range(count):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * entry)
        table += struct.pack(">4sII", name, offset + shift, size)
    bodies = profile[132 + 12 * count :]
    at += len(bodies)
    for name, words in extra:
        body = b"text" + bytes(4) + words
        table += struct.pack(">4sII", name, at, len(body))
        bodies, at = bodies + body, at + len(body)
    head = struct.pack(">I", at) + profile[4:128] + struct.pack(">I", count + len(extra))
    return head + table + bodies


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_a_colour_profile_keeps_its_colours_and_loses_its_names(format_, cleaned):
    profile = talking_profile()
    options = {"lossless": True} if format_ == "WEBP" else {}
    original = samples.packed(samples.corner_picture(), format_, icc_profile=profile, **options)

    after = cleaned(original).file.read_bytes()

    assert told(after) == []
    with Image.open(io.BytesIO(after)) as image:
        kept = image.info["icc_profile"]
        pixels = image.convert("RGB")
    as_before = ImageCms.profileToProfile(
        pixels, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    )
    as_now = ImageCms.profileToProfile(
        pixels, ImageCms.ImageCmsProfile(io.BytesIO(kept)), ImageCms.createProfile("sRGB")
    )
    assert as_before.tobytes() == as_now.tobytes()


def test_a_large_profile_comes_through_in_parts(cleaned):
    profile = bytearray(talking_profile())
    curve = b"curv" + bytes(4) + struct.pack(">I", 60_000) + bytes(range(256)) * 469
    at = len(profile)
    entry = profile.index(b"rTRC")
    profile[entry + 4 : entry + 12] = struct.pack(">II", at, len(curve))
    profile += curve
    profile[:4] = struct.pack(">I", len(profile))
    original = samples.packed(samples.corner_picture(), "JPEG", icc_profile=bytes(profile))

    after = cleaned(original).file.read_bytes()

    with Image.open(io.BytesIO(after)) as image:
        assert curve in image.info["icc_profile"]
    assert told(after) == []


@pytest.mark.parametrize("turned", [1, 6])
def test_a_png_keeps_its_pixels_and_loses_its_words(turned, cleaned):
    words = PngImagePlugin.PngInfo()
    words.add_text("Author", PERSON)
    words.add_text("Comment", WORDS, zip=True)
    words.add_itxt("XML:com.adobe.xmp", XMP)
    words.add(b"tIME", struct.pack(">HBBBBB", 2026, 9, 21, 10, 13, 19))
    words.add(b"prVt", SERIAL.encode(), after_idat=True)
    picture = samples.corner_picture().convert("RGBA")
    original = samples.packed(picture, "PNG", pnginfo=words, exif=exif(turned)) + STREET.encode()
    assert {PERSON, WORDS, STREET, CAMERA} <= set(told(original))

    found = cleaned(original)

    after = found.file.read_bytes()
    assert told(after) == []
    # Not every browser turns a PNG, so this one is turned already.
    upright = picture if turned == 1 else picture.transpose(Image.Transpose.ROTATE_270)
    with Image.open(io.BytesIO(after)) as other:
        other.load()
        assert (other.size, other.tobytes()) == (upright.size, upright.tobytes())
        assert dict(other.getexif()) == {}
    assert (found.mime_type, found.is_remade) == ("image/png", turned != 1)


@pytest.mark.parametrize("turned", [1, 8])
@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("alpha", [True, False])
def test_a_webp_keeps_its_pixels_and_loses_its_words(lossless, alpha, turned, cleaned):
    picture = samples.corner_picture().convert("RGBA" if alpha else "RGB")
    picture.putpixel((0, 0), (1, 2, 3, 4) if alpha else (1, 2, 3))
    original = samples.packed(
        picture, "WEBP", lossless=lossless, exif=exif(turned), xmp=XMP.encode()
    ) + WORDS.encode()  # fmt: skip
    assert {PERSON, CAMERA, WORDS} <= set(told(original))

    found = cleaned(original)

    after = found.file.read_bytes()
    assert told(after) == []
    with Image.open(io.BytesIO(original)) as one, Image.open(io.BytesIO(after)) as other:
        # No browser but Safari turns a WebP, so this one is turned already.
        upright = one if turned == 1 else one.transpose(Image.Transpose.ROTATE_90)
        assert other.size == upright.size
        if lossless or turned == 1:
            assert upright.tobytes() == other.tobytes()
        else:
            difference = ImageChops.difference(upright.convert("RGB"), other.convert("RGB"))
            assert max(ImageStat.Stat(difference).mean) < 1
        assert dict(other.getexif()) == {}
        assert "xmp" not in other.info
    assert (found.mime_type, found.is_remade) == ("image/webp", turned != 1)


def test_a_moving_webp_still_moves(cleaned):
    frames = [samples.corner_picture(64, 48).rotate(90 * n) for n in range(3)]
    original = samples.packed(
        frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=100, exif=exif(1)
    )

    after = cleaned(original).file.read_bytes()

    assert told(after) == []
    with Image.open(io.BytesIO(after)) as image:
        assert image.n_frames == 3


@pytest.mark.parametrize("format_", ["HEIF", "TIFF", "AVIF"])
def test_what_we_cannot_take_apart_is_encoded_anew_at_full_size(format_, cleaned, tmp_path):
    words = {"exif": exif(6)}
    if format_ in ("HEIF", "AVIF"):
        words["xmp"] = XMP.encode()
    original = samples.packed(samples.corner_picture(), format_, **words)
    assert told(original)

    found = cleaned(original)

    assert told(found.file.read_bytes()) == []
    assert (found.mime_type, found.is_remade) == ("image/jpeg", True)
    with Image.open(found.file) as image:
        assert sorted(image.size) == [480, 640]
        assert dict(image.getexif()) == {}
    turned = samples.red_corner(found.file)
    assert turned == "top right"


def test_what_is_behind_the_end_or_no_picture_at_all_is_never_given_away(cleaned):
    broken = (
        b"\xff\xd8\xff\xe1" + struct.pack(">H", 40) + WORDS.encode(),  # talk and no picture
        b"\xff\xd8\xff" + WORDS.encode(),
        b"\x89PNG\r\n\x1a\n" + WORDS.encode(),
        b"RIFF\xff\0\0\0WEBPEXIF" + WORDS.encode(),
        b"RIFF\x10\0\0\0WEBP",
    )

    for content in broken:
        with pytest.raises(Unreadable):
            cleaned(content)


def test_a_photo_that_was_cut_off_is_clean_as_far_as_it_goes(cleaned):
    original = telling_jpeg()
    end = original.index(b"\xff\xd9", original.rindex(b"\xff\xda", 0, -3000))
    cut = original[: end - 400]

    assert told(cleaned(cut).file.read_bytes()) == []


def test_a_document_is_never_cleaned(cleaned):
    for mime_type in ("application/pdf", "image/svg+xml", "application/zip"):
        with pytest.raises(Unreadable):
            cleaned(b"%PDF-1.7", mime_type)


# --- Films and recordings ------------------------------------------------------------------


def packets(content: bytes) -> list[tuple[str, bytes]]:
    with av.open(io.BytesIO(content)) as container:
        return [(packet.stream.type, bytes(packet)) for packet in container.demux() if packet.size]


def frames(content: bytes) -> list[tuple[str, float, bytes]]:
    found = []
    with av.open(io.BytesIO(content)) as container:
        for frame in container.decode():
            data = b"".join(bytes(plane) for plane in frame.planes)
            found.append((type(frame).__name__, round(frame.time, 3), data))
    return sorted(found, key=lambda one: one[:2])


@pytest.mark.parametrize(
    ("codec", "muxer", "options"),
    [
        ("libx264", "mp4", {"movflags": "use_metadata_tags"}),
        ("libx264", "mov", {"movflags": "use_metadata_tags"}),
        ("libx264", "mp4", {}),
        ("libx265", "mov", {}),
        ("h263", "3gp", {}),
        ("libvpx-vp9", "webm", {}),
    ],
)
def test_a_film_keeps_its_frames_and_loses_its_place(codec, muxer, options, cleaned, tmp_path):
    voice = {"webm": "libopus", "3gp": "aac"}.get(muxer, "aac")
    rate = 48000 if voice == "libopus" else 44100
    size = (352, 288) if codec == "h263" else (320, 240)
    first = samples.film(
        tmp_path / "film", codec, "matroska" if muxer == "webm" else "mov", size=size,
        turned=90 if codec == "libx264" else 0, voice=voice, voice_rate=rate,
    )  # fmt: skip
    original = tagged(first, muxer, **options)
    assert {PLACE, WORDS} & set(told(original))

    found = cleaned(original)

    after = found.file.read_bytes()
    assert told(after) == []
    assert not found.is_remade
    assert sniff(after).media_type == "video"
    assert frames(after) == frames(original)
    with av.open(io.BytesIO(after)) as container:
        assert {s.type for s in container.streams} == {"video", "audio"}
        rotation = next(container.decode(video=0)).rotation
        assert "location" not in container.metadata
    with av.open(io.BytesIO(original)) as container:
        assert next(container.decode(video=0)).rotation == rotation


def test_what_a_camera_writes_between_the_pictures_goes_too(cleaned, tmp_path):
    # libx264 notes its settings in an SEI message of free text, where drones note their place.
    film = samples.film(tmp_path / "film", "libx264", "mp4")
    assert b"x264 - core" in film.read_bytes()

    after = cleaned(film).file.read_bytes()

    assert b"x264" not in after
    assert frames(after) == frames(film.read_bytes())


@pytest.mark.parametrize(
    ("codec", "muxer", "mime_type"),
    [
        ("libmp3lame", "mp3", "audio/mpeg"),
        ("aac", "ipod", "audio/mp4"),
        ("pcm_s16le", "wav", "audio/wav"),
        ("flac", "flac", "audio/flac"),
        ("libopus", "ogg", "audio/ogg"),
    ],
)
def test_a_recording_keeps_its_sound_and_loses_its_words(
    codec, muxer, mime_type, cleaned, tmp_path
):
    rate = 48000 if codec == "libopus" else 44100
    original = tagged(samples.sound(tmp_path / "sound", codec, muxer, rate=rate), muxer)
    assert PERSON in told(original)

    found = cleaned(original, mime_type)

    after = found.file.read_bytes()
    assert told(after) == []
    assert packets(after) == packets(original)


def test_an_mp3_loses_its_cover_and_what_stands_behind_the_last_frame(cleaned, tmp_path):
    sound = samples.sound(tmp_path / "sound", "libmp3lame", "mp3").read_bytes()
    cover = samples.packed(samples.corner_picture(64, 48), "JPEG", comment=PERSON.encode())
    body = b"\0image/jpeg\0\x03\0" + cover
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body
    tag = b"ID3\x03\0\0" + bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0)) + frame
    last = b"TAG" + STREET.encode().ljust(30) + PERSON.encode().ljust(30) + bytes(65)

    after = cleaned(tag + sound + last, "audio/mpeg").file.read_bytes()

    assert told(after) == []
    assert after[:3] != b"ID3"
    assert packets(after)


def test_what_would_have_to_be_encoded_anew_is_left_to_the_playable_copy(cleaned, tmp_path):
    avi = samples.film(tmp_path / "film", "mpeg4", "avi")

    with pytest.raises(Unreadable):
        cleaned(avi)


# --- What the camera wrote, for the staff ----------------------------------------------------


@pytest.mark.parametrize("format_", ["JPEG", "HEIF", "PNG"])
def test_staff_can_read_what_the_camera_wrote(format_, tmp_path):
    original = tmp_path / "photo"
    original.write_bytes(samples.packed(samples.corner_picture(), format_, exif=exif()))

    found = describe(original, sniff(original.read_bytes()).mime_type, tmp_path)

    assert found.camera == f"{CAMERA} {MODEL}"
    assert found.taken_at == "2026-09-21 10:13:19 -04:00"
    assert found.place == "42.361100° N, 71.057000° W"


def test_a_photo_that_says_nothing_is_no_trouble(tmp_path):
    original = tmp_path / "photo"
    original.write_bytes(samples.packed(samples.corner_picture(), "JPEG"))

    found = describe(original, "image/jpeg", tmp_path)

    assert (found.camera, found.taken_at, found.place) == (None, None, None)


@pytest.mark.parametrize(
    "latitude", [(999.0, 0.0, 0.0), ("x", "y", "z"), (1.0,), (float("nan"), 0.0, 0.0), ()]
)
def test_a_place_that_cannot_be_is_not_shown(latitude, tmp_path):
    tags = Image.Exif()
    gps = tags.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitude] = latitude
    gps[ExifTags.GPS.GPSLongitude] = (71.0, 3.0, 25.2)
    original = tmp_path / "photo"
    try:
        original.write_bytes(samples.packed(samples.corner_picture(), "JPEG", exif=tags.tobytes()))
    except (TypeError, ValueError, struct.error):
        original.write_bytes(samples.packed(samples.corner_picture(), "JPEG"))

    assert describe(original, "image/jpeg", tmp_path).place is None
