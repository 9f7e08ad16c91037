"""Whatever phones call a photo ends as a picture on the page, upright and in its colours."""

import base64
import io
import os
import subprocess
import sys

import pytest
from PIL import Image, ImageFilter

from tests.support import samples
from viewer.derive import Unreadable, derive

# As the child does it, and then which of Pillow's forty it has loaded.
LOOK = """
import sys
from pathlib import Path
from viewer.derive.pictures import photos
from viewer.derive.kinds.sniff import KINDS
from viewer.derive.types import Limits
list(photos.make_derivatives(sys.stdin.buffer.raw, KINDS[sys.argv[1]], Path(sys.argv[2]), Limits()))
print(*sorted(name for name in sys.modules if name.endswith("ImagePlugin")))
"""


@pytest.mark.proof
@pytest.mark.parametrize(
    ("format_", "own"), [("JPEG", set()), ("TIFF", {"Tiff"}), ("AVIF", {"Avif"})]
)
def test_a_photo_brings_no_strange_decoder_along(tmp_path, format_, own):
    photo = tmp_path / "original"
    photo.write_bytes(samples.packed(samples.corner_picture(), format_))

    with photo.open() as original:
        said = subprocess.run(
            [sys.executable, "-c", LOOK, f"image/{format_.lower()}", str(tmp_path)],
            stdin=original, capture_output=True, text=True, check=True,
        )  # fmt: skip

    always = {"Bmp", "Gif", "Jpeg", "Png", "Ppm", "WebP"}
    loaded = {name.split(".")[1].removesuffix("ImagePlugin") for name in said.stdout.split()}
    assert loaded <= always | own
    assert loaded >= {"WebP"} | own


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_exif_orientation_is_shown_upright(look, orientation):
    upright = samples.corner_picture(640, 480)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    as_sensor_saw = upright.transpose(undo[orientation]) if orientation > 1 else upright

    photo = look(samples.packed(as_sensor_saw, "JPEG", exif=samples.exif(orientation)))

    assert (photo.width, photo.height) == (640, 480)
    assert samples.red_corner(photo.thumbnail) == "top left"
    assert samples.red_corner(photo.preview) == "top left"


@pytest.mark.parametrize("format_", ["HEIF", "AVIF", "WEBP", "TIFF", "PNG"])
def test_other_formats_are_turned_exactly_once(look, format_):
    sideways = samples.corner_picture(640, 480).transpose(Image.Transpose.ROTATE_90)

    photo = look(samples.packed(sideways, format_, exif=samples.exif(6)))

    assert (photo.width, photo.height) == (640, 480)
    assert samples.red_corner(photo.preview) == "top left"


def test_sizes_are_those_promised_and_small_photos_are_not_enlarged(look, tmp_path):
    photo = look(samples.packed(samples.corner_picture(3000, 1500), "JPEG"))
    with Image.open(photo.thumbnail) as thumbnail, Image.open(photo.preview) as preview:
        sizes = thumbnail.size, preview.size

    assert (photo.width, photo.height) == (3000, 1500)
    assert sizes == ((480, 240), (2048, 1024))

    small = look(samples.packed(samples.corner_picture(100, 60), "PNG"))
    with Image.open(small.thumbnail) as thumbnail, Image.open(small.preview) as preview:
        assert thumbnail.size == preview.size == (100, 60)


def test_copies_carry_nothing_of_the_senders(look):
    original = samples.packed(
        samples.corner_picture(),
        "JPEG",
        exif=samples.exif(1),
        comment=b"here",
        icc_profile=b"x" * 99,
    )

    photo = look(original)

    for copy in (photo.thumbnail, photo.preview):
        with Image.open(copy) as image:
            assert image.format == "JPEG"
            assert image.info.keys() <= {
                "jfif",
                "jfif_version",
                "jfif_unit",
                "jfif_density",
                "progressive",
                "progression",
            }
        assert b"Made-up phone" not in copy.read_bytes()


def test_placeholder_is_a_tiny_picture_within_the_page(look):
    noise = Image.merge("RGB", [Image.effect_noise((900, 600), 200)] * 3)

    photo = look(samples.packed(noise, "JPEG"))
    kind, packed = photo.placeholder.split(",")

    assert kind == "data:image/webp;base64"
    assert len(photo.placeholder) < 600
    with Image.open(io.BytesIO(base64.b64decode(packed))) as blur:
        assert max(blur.size) <= 24


def test_transparency_becomes_white(look):
    clear = Image.new("RGBA", (300, 200), (0, 0, 0, 0))
    clear.paste((200, 0, 0, 255), (0, 0, 150, 200))

    photo = look(samples.packed(clear, "PNG"))

    with Image.open(photo.preview) as preview:
        assert min(preview.getpixel((280, 100))) > 245
        assert preview.getpixel((20, 100))[0] > 180 > 60 > preview.getpixel((20, 100))[1]


@pytest.mark.parametrize(
    ("picture", "format_"),
    [
        (Image.new("CMYK", (300, 200), (0, 255, 255, 35)), "JPEG"),
        (Image.new("RGB", (300, 200), (220, 0, 0)).quantize(8), "PNG"),
        (Image.new("RGB", (300, 200), (220, 0, 0)).quantize(8), "GIF"),
        (Image.new("RGB", (300, 200), (220, 0, 0)), "BMP"),
    ],
    ids=["CMYK JPEG", "palette PNG", "GIF", "BMP"],
)
def test_other_colour_models_keep_their_colour(look, picture, format_):
    photo = look(samples.packed(picture, format_))

    with Image.open(photo.preview) as preview:
        red, green, blue = preview.getpixel((150, 100))
    assert abs(red - 220) < 12
    assert max(green, blue) < 12


@pytest.mark.parametrize("mode", ["L", "1", "LA", "I;16", "F"])
def test_greys_of_every_depth_keep_their_brightness(look, mode):
    grey, white = {"I;16": (40000, 65535), "1": (1, 1), "F": (0.61, 1.0)}.get(mode, (156, 255))
    picture = Image.new(mode, (300, 200), (grey, 255) if mode == "LA" else grey)
    picture.paste((white, 255) if mode == "LA" else white, (0, 0, 10, 200))
    picture.paste((0, 255) if mode == "LA" else 0, (290, 0, 300, 200))

    photo = look(samples.packed(picture, "TIFF" if mode == "F" else "PNG"))

    with Image.open(photo.preview) as preview:
        assert abs(preview.getpixel((150, 100))[0] - (255 if mode == "1" else 156)) < 4


def test_display_p3_of_iphones_becomes_the_same_colour_in_srgb(look):
    picture = Image.new("RGB", (300, 200), (200, 100, 60))

    photo = look(samples.packed(picture, "JPEG", quality=95, icc_profile=samples.p3_profile()))

    with Image.open(photo.preview) as preview:
        shown = preview.getpixel((150, 100))
    # By the matrices of CSS Color 4: color(display-p3 .784 .392 .235) = rgb(214 95 48).
    assert all(abs(is_ - should) < 6 for is_, should in zip(shown, (214, 95, 48), strict=True))


def test_preview_and_full_size_of_one_decoding_are_converted_once_each(look):
    picture = Image.new("RGB", (2100, 40), (200, 100, 60))

    photo = look(samples.packed(picture, "HEIF", quality=95, icc_profile=samples.p3_profile()))

    for copy in (photo.preview, photo.full):
        with Image.open(copy) as image:
            shown = image.getpixel((1000, 20))
        assert all(abs(is_ - should) < 6 for is_, should in zip(shown, (214, 95, 48), strict=True))


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG"])
def test_animations_show_their_first_frame(look, format_):
    frames = [Image.new("RGB", (200, 100), (0, 0, shade)) for shade in range(30, 90)]

    photo = look(
        samples.packed(
            samples.corner_picture(200, 100), format_, save_all=True, append_images=frames
        )
    )

    assert samples.red_corner(photo.thumbnail) == "top left"


def test_truncated_photo_shows_what_arrived_and_says_damaged(look):
    whole = samples.packed(samples.corner_picture(1200, 900).filter(ImageFilter.BLUR), "JPEG")

    photo = look(whole[: len(whole) // 2])

    assert photo.is_incomplete
    assert (photo.width, photo.height) == (1200, 900)
    assert "top left" in samples.red_corner(photo.thumbnail)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP", "HEIF", "AVIF", "TIFF", "BMP"])
def test_photo_of_which_only_the_beginning_arrived_is_unreadable(look, format_):
    whole = samples.packed(samples.corner_picture(1200, 900), format_)

    with pytest.raises(Unreadable, match=r"damaged|incomplete"):
        look(whole[:40])


def test_pixel_bomb_is_refused_at_its_header(look):
    with pytest.raises(Unreadable, match="larger than 100 megapixels"):
        look(samples.png_header(10_001, 10_000))
    with pytest.raises(Unreadable, match="larger than 100 megapixels"):
        look(samples.png_header(65_535, 65_535))


@pytest.mark.parametrize(
    "body",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"8BPS\x00\x01" + bytes(40),
        b"\x00\x00\x01\x00\x01\x00" + bytes(40),
        os.urandom(5000),
    ],
    ids=["EPS", "PDF", "SVG", "PSD", "ICO", "noise"],
)
def test_no_decoder_is_entered_for_what_is_no_photo(look, body):
    with pytest.raises(Unreadable, match="no preview"):
        look(body)


@pytest.mark.parametrize(
    ("declared", "body"),
    [
        ("image/jpeg", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
        ("image/png", b"%PDF-1.7\n"),
        ("image/tiff", b"8BPS\x00\x01"),
        ("image/heic", b"<svg/>"),
    ],
)
def test_a_lie_about_the_type_enters_only_the_decoder_named(tmp_path, declared, body):
    original = tmp_path / "photo.jpg"
    original.write_bytes(body + bytes(400))

    with pytest.raises(Unreadable, match="damaged"):
        derive(original, declared, tmp_path)


@pytest.mark.proof
@pytest.mark.parametrize("format_", ["HEIF", "TIFF"])
def test_what_no_browser_shows_is_there_in_every_pixel(look, format_):
    wall = Image.new("RGB", (3000, 2250), (190, 188, 182))
    wall.paste((20, 20, 20), (1500, 0, 1501, 2250))  # a crack of one pixel
    sideways = wall.transpose(Image.Transpose.ROTATE_90)

    photo = look(samples.packed(sideways, format_, exif=samples.exif(6)))

    with Image.open(photo.full) as full:
        assert (full.format, full.size, full.getexif()) == ("JPEG", (3000, 2250), {})
        assert [full.getpixel((x, 900))[1] < 100 for x in (1498, 1500, 1502)] == [
            False,
            True,
            False,
        ]
    with Image.open(photo.preview) as preview:
        assert preview.getpixel((1024, 600))[1] > 60  # where it is all but lost


@pytest.mark.proof
def test_a_photo_of_48_megapixels_fits_the_childs_limits(look):
    wall = Image.new("RGB", (8064, 6048), (190, 188, 182))
    packed = samples.packed(
        wall, "HEIF", quality=20, icc_profile=samples.p3_profile(), enc_params=FAST
    )

    photo = look(packed)

    assert (photo.width, photo.height, photo.problem) == (8064, 6048, None)
    with Image.open(photo.full) as full:
        assert full.size == (8064, 6048)


FAST = {"preset": "ultrafast"}


@pytest.mark.parametrize(
    ("format_", "size"), [("JPEG", (3000, 2000)), ("PNG", (2100, 20)), ("HEIF", (2048, 1024))]
)
def test_no_second_copy_is_made_of_what_is_there_already(look, format_, size):
    photo = look(samples.packed(samples.corner_picture(*size), format_))

    assert photo.preview
    assert photo.full is None
