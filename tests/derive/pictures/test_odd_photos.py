"""One judgement of a photo for all its copies; and nothing that describes it costs the picture."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from tests.support import odd_photos
from tests.support.odd_photos import (
    BROKEN_EXIF,
    QUARTERS,
    TURNED_5,
    TURNED_6,
    app1,
    chunk,
    distance,
    exif,
    exif_segment,
    jpeg,
    png,
    quarters,
    quarters_of,
    turned,
    xmp,
    xmp_segment,
)
from tests.support.samples import packed
from viewer.derive import Broken, Cleaned, Limits, Unreadable, clean, derive, describe, sniff

NOTE = bytes(range(256)) * 300  # a maker's, so long that EXIF takes two segments
IN_TWO = exif((0x0112, 3, 1, 6), (0x927C, 7, len(NOTE), 38)) + NOTE


@pytest.fixture
def cleaned(tmp_path: Path) -> Callable[[bytes], Cleaned]:
    def make(original: bytes) -> Cleaned:
        source, into = tmp_path / "source", tmp_path / "cleaned"
        source.write_bytes(original)
        into.mkdir(exist_ok=True)
        return clean(source, sniff(original).mime_type, into)

    return make


def seen_in(path: Path) -> list[Any]:
    """As every browser shows a copy: one of ours states no orientation but a JPEG's."""
    with Image.open(path) as image:
        value = image.getexif().get(0x0112, 1)
        turn = {1: None, 6: Image.Transpose.ROTATE_270, 5: Image.Transpose.TRANSPOSE}[value]
        assert value == 1 or image.format == "JPEG"
        return quarters_of(image.transpose(turn) if turn is not None else image.convert("RGB"))


# --- Which way up ----------------------------------------------------------------------------

AS_IT_LIES = {
    "JPEG, LONG": jpeg(exif_segment(exif((0x0112, 4, 1, 6)))),
    "JPEG, two values": jpeg(exif_segment(exif((0x0112, 3, 2, 6)))),
    "JPEG, a ninth way": jpeg(exif_segment(turned(9))),
    "JPEG, no TIFF header": jpeg(exif_segment(b"MM\0+" + turned(6)[4:])),
    "JPEG, XMP": jpeg(xmp_segment(6)),
    "JPEG, behind the end": jpeg() + exif_segment(turned(6)),
    "PNG, XMP": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6))),
    "PNG, behind the pixels": png()[:-12] + chunk(b"eXIf", turned(6)) + png()[-12:],
    "PNG, wrong checksum": png(chunk(b"eXIf", turned(6), check=1)),
    "PNG, with a JPEG's name": png(chunk(b"eXIf", b"Exif\0\0" + turned(6))),
    "WebP, XMP": packed(quarters(), "WEBP", xmp=xmp(6)),
    "WebP, LONG": packed(quarters(), "WEBP", exif=exif((0x0112, 4, 1, 6))),
    "AVIF, XMP": packed(quarters(), "AVIF", xmp=xmp(6)),
    "HEIC, XMP": packed(quarters(), "HEIF", xmp=xmp(1)),
    "TIFF, XMP": packed(quarters(), "TIFF", tiffinfo={700: xmp(6)}),
}


@pytest.mark.parametrize("name", AS_IT_LIES)
def test_what_no_browser_turns_by_turns_nothing(name, look, cleaned):
    photo = look(AS_IT_LIES[name])

    assert (photo.width, photo.height) == (640, 480)
    copies = [photo.thumbnail, photo.preview, cleaned(AS_IT_LIES[name]).file]
    for copy in copies:
        assert distance(seen_in(copy), QUARTERS) <= 4
    # Our own decoder takes a wrong checksum ill, so browsers get a copy to be safe.
    assert (photo.full is None) == (name != "PNG, wrong checksum")


EVERYWHERE = {
    "first of two segments": jpeg(exif_segment(IN_TWO[:65_000]), exif_segment(IN_TWO[65_000:])),
    "first, not second": jpeg(exif_segment(turned(6)), exif_segment(turned(3))),
    "little endian": jpeg(exif_segment(exif((0x0112, 3, 1, 6), order="<"))),
    "before XMP": jpeg(exif_segment(turned(6)), xmp_segment(1)),
    "behind filling": jpeg(b"\xff\xff", exif_segment(turned(6))),
}


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_jpeg_is_turned_as_all_browsers_turn_it(name, look, cleaned):
    photo = look(EVERYWHERE[name])

    assert (photo.width, photo.height) == (480, 640)
    for copy in (photo.thumbnail, photo.preview, cleaned(EVERYWHERE[name]).file):
        assert distance(seen_in(copy), TURNED_6) <= 4
    assert photo.full is None  # the original will do


NOT_EVERYWHERE = {
    "XMP before EXIF": (jpeg(xmp_segment(6), exif_segment(turned(6))), TURNED_6),
    "another note before": (jpeg(app1(b"note"), exif_segment(turned(6))), TURNED_6),
    "an empty segment before": (
        jpeg(exif_segment(b""), exif_segment(turned(6))),
        TURNED_6,
    ),
    "said in the second only": (
        jpeg(exif_segment(exif((0x0100, 3, 1, 9))), exif_segment(turned(6))),
        QUARTERS,
    ),
    "said twice": (
        jpeg(exif_segment(exif((0x0112, 3, 1, 3), (0x0112, 3, 1, 6)))),
        TURNED_6,
    ),
    "PNG": (png(chunk(b"eXIf", turned(6))), TURNED_6),
    "WebP": (packed(quarters(), "WEBP", exif=turned(5)), TURNED_5),
    "lossless WebP": (packed(quarters(), "WEBP", exif=turned(6), lossless=True), TURNED_6),
    "AVIF": (packed(quarters(), "AVIF", exif=turned(6)), TURNED_6),
    "mirrored AVIF": (packed(quarters(), "AVIF", exif=turned(5)), TURNED_5),
}


@pytest.mark.parametrize("name", NOT_EVERYWHERE)
def test_where_browsers_disagree_they_get_a_copy_in_every_pixel(name, look, cleaned):
    original, expected = NOT_EVERYWHERE[name]

    photo = look(original)

    size = (640, 480) if expected == QUARTERS else (480, 640)
    assert (photo.width, photo.height) == size
    for copy in (photo.thumbnail, photo.preview, photo.full, cleaned(original).file):
        assert distance(seen_in(copy), expected) <= 4
    with Image.open(photo.full) as full:
        assert full.size == size


def test_a_large_jpeg_on_which_browsers_disagree_keeps_every_pixel(look):
    wall = quarters(3600, 2700)
    wall.paste((20, 20, 20), (1800, 0, 1801, 2700))  # a crack of one pixel
    photo = look(jpeg(xmp_segment(6), exif_segment(turned(6)), picture=wall, subsampling=0))

    with Image.open(photo.full) as full:
        assert full.size == (2700, 3600)
        assert full.getpixel((300, 1799))[1] < 100
        assert full.getpixel((300, 1801))[1] < 100 or full.getpixel((300, 1800))[1] < 100


@pytest.mark.parametrize("value", range(1, 9))
def test_the_container_of_an_avif_is_read_as_its_decoder_reads_it(value, look):
    upright = quarters(320, 240)
    original = packed(upright, "AVIF", exif=turned(value))
    with Image.open(io.BytesIO(original)) as image:
        judged_by_pillow = image.getexif().get(0x0112, 1)
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(judged_by_pillow)
    expected = quarters_of(upright.transpose(turn) if turn is not None else upright)

    photo = look(original)

    assert judged_by_pillow == value
    assert distance(seen_in(photo.preview), expected) <= 5


# --- What is broken beside the picture -------------------------------------------------------


def without_end(format_: str, size: int, **options: Any) -> bytes:
    return packed(quarters(), format_, **options)[:-size]


def broken_tiff() -> bytes:
    """Its folder of EXIF lies nowhere."""
    whole = packed(quarters(), "TIFF", tiffinfo={0x8769: 8})
    at = whole.index(struct.pack("<HHI", 0x8769, 4, 1)) + 8
    return whole[:at] + struct.pack("<I", 0xFFFFFF00) + whole[at + 4 :]


def broken_avif() -> bytes:
    whole = packed(quarters(), "AVIF", exif=exif((0x0100, 3, 1, 9)))
    assert b"MM\0*" in whole
    return whole.replace(b"MM\0*", b"\0\x08\0\2")


def shorter_riff() -> bytes:
    webp = packed(quarters(), "WEBP")
    return webp[:4] + struct.pack("<I", len(webp) + 4000) + webp[8:]


TABLES = jpeg().index(b"\xff\xdb")
SOUND = {
    "JPEG, broken EXIF": jpeg(exif_segment(BROKEN_EXIF)),
    "JPEG, empty EXIF": jpeg(exif_segment(b"")),
    "JPEG, no end mark": jpeg()[:-2],
    "JPEG, half an end mark": jpeg()[:-1],
    "progressive JPEG, no end mark": jpeg(progressive=True)[:-2],
    "JPEG, filling between segments": jpeg()[:TABLES] + b"\0\0\0" + jpeg()[TABLES:],
    "PNG, broken EXIF": png(chunk(b"eXIf", BROKEN_EXIF)),
    "PNG, wrong checksum of words": png(chunk(b"tEXt", b"Comment\0here", check=1)),
    "PNG, words too large": png(
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"words " * 350_000))
    ),
    "PNG, broken words": png(chunk(b"zTXt", b"Comment\0\0" + b"\x78\x9cnothing")),
    "PNG, broken profile": png(chunk(b"iCCP", b"icc\0\0" + b"\x78\x9cnothing")),
    "PNG, no end mark": png()[:-12],
    "PNG, half an end mark": png()[:-6],
    "GIF, no end mark": without_end("GIF", 1),
    "WebP, broken EXIF": packed(quarters(), "WEBP", exif=BROKEN_EXIF),
    "WebP, wrong length": shorter_riff(),
    "AVIF, broken EXIF": broken_avif(),
    "HEIC, broken EXIF": packed(quarters(), "HEIF", exif=BROKEN_EXIF),
    "TIFF, broken EXIF": broken_tiff(),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_broken_beside_the_picture_costs_nothing_and_warns_of_nothing(name, look, cleaned):
    photo = look(SOUND[name])

    assert (photo.width, photo.height) == (640, 480)
    assert not photo.is_incomplete
    assert photo.problem is None
    for copy in (photo.thumbnail, photo.preview, cleaned(SOUND[name]).file):
        assert distance(seen_in(copy), QUARTERS) <= 4


@pytest.mark.parametrize("name", SOUND)
def test_what_a_camera_wrote_is_read_or_left_out_but_costs_no_page(name, tmp_path):
    original = tmp_path / "original"
    original.write_bytes(SOUND[name])

    try:
        found = describe(original, sniff(SOUND[name]).mime_type, tmp_path)
    except Unreadable:  # its header is refused: the page says nothing of a camera
        return
    assert found.place is None


CUT = {
    "JPEG": packed(Image.effect_noise((640, 480), 60).convert("RGB"), "JPEG"),
    "progressive JPEG": packed(
        Image.effect_noise((640, 480), 60).convert("RGB"), "JPEG", progressive=True
    ),
    "PNG": packed(Image.effect_noise((640, 480), 60).convert("RGB"), "PNG"),
    "GIF": packed(Image.effect_noise((640, 480), 60), "GIF", interlace=0),
    "WebP": packed(Image.effect_noise((640, 480), 60).convert("RGB"), "WEBP"),
    "BMP": packed(Image.effect_noise((640, 480), 60).convert("RGB"), "BMP"),
}


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("part", [0.5, 0.9, 0.99])
def test_a_photo_that_is_really_cut_shows_what_there_is_and_says_so(name, part, look):
    whole = CUT[name]

    photo = look(whole[: round(len(whole) * part)])

    assert photo.is_incomplete
    with Image.open(photo.preview) as preview, Image.open(io.BytesIO(whole)) as original:
        rows = (0, 0, 640, 16) if name != "BMP" else (0, 464, 640, 480)  # it begins at the bottom
        strip = ImageChops.difference(
            preview.convert("L").crop(rows), original.convert("L").crop(rows)
        )
        assert sum(strip.get_flattened_data()) / (640 * 16) < 24


def test_a_progressive_jpeg_without_its_last_scan_is_incomplete(look):
    whole = jpeg(progressive=True)
    last = whole.rindex(b"\xff\xda")

    photo = look(whole[:last])

    assert photo.is_incomplete


def test_a_picture_of_a_kind_that_we_do_not_know_is_not_called_damaged(look):
    bmp = bytearray(packed(quarters(), "BMP"))
    struct.pack_into("<I", bmp, 30, 99)  # a way of packing that nobody has thought of

    with pytest.raises(Unreadable, match="cannot show this kind") as refused:
        look(bytes(bmp))
    assert not isinstance(refused.value, Broken)
    with pytest.raises(Broken):
        look(bytes(bmp[: len(bmp) // 2]))


# --- Colours ---------------------------------------------------------------------------------


def test_adobe_rgb_looks_the_same_small_and_large(look, cleaned):
    original = odd_photos.in_adobe_rgb()

    photo = look(original)

    for copy in (photo.thumbnail, photo.preview):
        assert distance(seen_in(copy), QUARTERS) <= 4
    with Image.open(cleaned(original).file) as image:
        assert image.info["icc_profile"]  # the browser's own work, as with the original


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_hdr_is_shown_in_about_the_colours_of_other_photos(transfer, look, cleaned):
    original = odd_photos.hdr(transfer)

    photo = look(original)

    for copy in (photo.thumbnail, photo.preview, photo.full, cleaned(original).file):
        assert distance(seen_in(copy), QUARTERS) <= 8


def test_a_grey_profile_is_heeded(look):
    grey = Image.new("L", (300, 200), 128)
    photo = look(packed(grey, "PNG", icc_profile=odd_photos.grey_profile(1.0)))

    with Image.open(photo.preview) as preview:
        assert abs(preview.getpixel((150, 100))[0] - 188) <= 3  # half the light of white, in sRGB


def test_a_profile_that_is_no_profile_changes_nothing(look):
    for profile in (
        b"x" * 500,
        b"\0" * 128 + struct.pack(">I", 1000),
        odd_photos.adobe_profile()[:200],
    ):
        photo = look(packed(quarters(), "JPEG", icc_profile=profile))

        assert distance(seen_in(photo.preview), QUARTERS) <= 4


# --- Size and shape --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "preview", "thumbnail"),
    [
        ((20_000, 100), (8192, 41), (400, 100)),
        ((1170, 14_000), (682, 8161), (120, 480)),
        ((300, 4000), (300, 4000), (120, 480)),
        ((1, 1), (1, 1), (1, 1)),
        ((5000, 1), (5000, 1), (4, 1)),
        ((4000, 1000), (2728, 682), (480, 120)),
        ((4000, 3000), (2048, 1536), (480, 360)),
    ],
)
def test_a_strip_can_be_seen_small_and_read_large(size, preview, thumbnail, look):
    photo = look(packed(quarters(*size), "PNG"))

    assert (photo.width, photo.height) == size
    with Image.open(photo.preview) as large, Image.open(photo.thumbnail) as small:
        assert all(abs(a - b) <= 1 for a, b in zip(large.size, preview, strict=True))
        assert all(abs(a - b) <= 1 for a, b in zip(small.size, thumbnail, strict=True))
    if min(size) > 1:
        assert distance(seen_in(photo.thumbnail), QUARTERS) <= 5


@pytest.mark.proof
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_108_megapixels_gets_copies(progressive, look):
    original = packed(quarters(12_000, 9000), "JPEG", quality=60, progressive=progressive)

    photo = look(original)

    assert (photo.width, photo.height) == (12_000, 9000)
    with Image.open(photo.preview) as preview:
        assert preview.size == (2048, 1536)
    assert distance(seen_in(photo.preview), QUARTERS) <= 4


def test_what_a_jpeg_may_claim_has_a_bound(look):
    limits = Limits(pixels=50_000)

    photo = look(packed(quarters(400, 300), "JPEG"), Limits(pixels=120_000))
    with pytest.raises(Unreadable, match="larger than"):
        look(packed(quarters(640, 480), "JPEG"), limits)

    assert photo.width == 400


# --- Clean copies ----------------------------------------------------------------------------


def test_a_moving_gif_still_moves_and_says_nothing(cleaned):
    frames = [quarters(320, 240), quarters(320, 240).rotate(180)]
    original = packed(
        frames[0], "GIF", save_all=True, append_images=frames[1:], duration=[300, 700], loop=3,
        comment=b"Rosa Lindqvist",
    )  # fmt: skip
    note = b"\x21\xff\x0bXMP DataXMP" + b"\x0eRosa Lindqvist" + b"\0"
    at = original.index(b"\x21\xff")
    original = original[:at] + note + original[at:] + b"Rosa Lindqvist"

    found = cleaned(original)

    after = found.file.read_bytes()
    assert b"Rosa" not in after
    assert (found.mime_type, found.is_remade) == ("image/gif", False)
    with Image.open(io.BytesIO(original)) as one, Image.open(io.BytesIO(after)) as other:
        assert (other.n_frames, other.info["loop"]) == (2, 3)
        for frame in range(2):
            one.seek(frame)
            other.seek(frame)
            assert one.info["duration"] == other.info["duration"] == (300, 700)[frame]
            assert one.convert("RGB").tobytes() == other.convert("RGB").tobytes()


@pytest.mark.parametrize("end", [20, 200, 1000])
def test_a_gif_that_was_cut_off_is_clean_as_far_as_it_goes(end, cleaned):
    frames = [Image.effect_noise((160, 120), 60), Image.effect_noise((160, 120), 60)]
    original = packed(
        frames[0], "GIF", save_all=True, append_images=frames[1:], comment=b"Rosa Lindqvist"
    )

    after = cleaned(original[:-end]).file.read_bytes()

    assert b"Rosa" not in after
    assert after.endswith(b"\0;")
    with Image.open(io.BytesIO(after)) as image:
        image.load()
        assert image.convert("L").tobytes() == frames[0].tobytes()


def whole_jpeg() -> bytes:
    return jpeg(picture=quarters(3000, 2000))


IN_EVERY_PIXEL = {
    "filling between segments": jpeg()[:TABLES] + b"\0\0\0" + jpeg()[TABLES:],
    "a zero behind 0xFF": jpeg()[:TABLES] + b"\xff\0" + jpeg()[TABLES:],
    "0xFF repeated": jpeg()[:TABLES] + b"\xff\xff\xff" + jpeg()[TABLES:],
    "number of lines": jpeg()[:-2] + b"\xff\xdc\0\4\1\xe0" + jpeg()[-2:],
    "progressive": jpeg(progressive=True),
    "restarts": jpeg(restart_marker_rows=2),
    "CMYK": packed(quarters().convert("CMYK"), "JPEG"),
    "grey": packed(quarters().convert("L"), "JPEG"),
}


@pytest.mark.parametrize("name", IN_EVERY_PIXEL)
def test_a_jpeg_of_any_build_goes_out_bit_for_bit(name, cleaned):
    original = IN_EVERY_PIXEL[name]

    found = cleaned(original)

    assert (found.mime_type, found.is_remade) == ("image/jpeg", False)
    with Image.open(io.BytesIO(original)) as one, Image.open(found.file) as other:
        assert one.tobytes() == other.tobytes()


def test_what_cannot_be_taken_apart_is_encoded_anew_in_every_pixel(cleaned):
    original = png(chunk(b"STRA", b"Rosa Lindqvist"))  # needed, says its name, and nobody's

    found = cleaned(original)

    assert b"Rosa" not in found.file.read_bytes()
    assert (found.mime_type, found.is_remade) == ("image/png", True)
    with Image.open(found.file) as image:
        assert image.convert("RGB").tobytes() == quarters().tobytes()


# --- Cameras' raw files ----------------------------------------------------------------------


def raw(*entries: tuple[int, int, int, int]) -> bytes:
    return exif((254, 4, 1, 1), (256, 4, 1, 160), *entries, order="<")


MORE = (330, 4, 1, 200)  # where further folders lie


@pytest.mark.parametrize(
    ("head", "mime_type"),
    [
        (raw((50706, 1, 4, 0x0401)), "image/x-adobe-dng"),
        (raw((271, 2, 18, 80), MORE).ljust(80, b"\0") + b"NIKON D1", "image/x-nikon-nef"),
        (raw((271, 2, 5, 80), MORE).ljust(80, b"\0") + b"SONY", "image/x-sony-arw"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), "image/x-canon-cr2"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "image/x-canon-cr3"),
        (b"IIRO\x08\0\0\0", "image/x-olympus-orf"),
        (b"IIU\0\x18\0\0\0", "image/x-panasonic-rw2"),
        (b"FUJIFILMCCD-RAW 0201", "image/x-fuji-raf"),
        (raw(MORE), "image/tiff"),
        (packed(quarters(), "TIFF"), "image/tiff"),
    ],
)  # fmt: skip
def test_the_small_picture_within_a_raw_file_is_not_taken_for_the_photo(head, mime_type, tmp_path):
    kind = sniff(head)

    assert kind.mime_type == mime_type
    if mime_type != "image/tiff":
        assert kind.media_type == "document"
        (tmp_path / "original").write_bytes(head)
        with pytest.raises(Unreadable, match="no preview"):
            derive(tmp_path / "original", mime_type, tmp_path)
