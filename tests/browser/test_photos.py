"""The browser is the judge: a photo looks the same small, looked at closely, and sent by a link.

Each comes by the signed webhook. What the browser makes of `/media/<id>/full`, the original where
all browsers show that alike, is set beside thumbnail, preview and the copy for strangers.
"""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESK, PHONE
from tests.support import odd_photos
from tests.support.odd_photos import (
    BROKEN_EXIF,
    QUARTERS,
    TURNED_5,
    TURNED_6,
    chunk,
    distance,
    exif,
    exif_segment,
    jpeg,
    png,
    quarters,
    turned,
    xmp,
    xmp_segment,
)
from tests.support.samples import packed
from viewer.extensions import db, now
from viewer.models import Conversation, MediaAttachment, User
from viewer.office import accounts, sharing

NOTE = bytes(range(256)) * 300
IN_TWO = exif((0x0112, 3, 1, 6), (0x927C, 7, len(NOTE), 38)) + NOTE
JPEG = jpeg()
TABLES = JPEG.index(b"\xff\xdb")

# What is seen, and how large it is.
PHOTOS = {
    "plain": (JPEG, QUARTERS, (640, 480)),
    "turned": (jpeg(exif_segment(turned(6))), TURNED_6, (480, 640)),
    "LONG": (jpeg(exif_segment(exif((0x0112, 4, 1, 6)))), QUARTERS, (640, 480)),
    "two values": (jpeg(exif_segment(exif((0x0112, 3, 2, 6)))), QUARTERS, (640, 480)),
    "XMP only": (jpeg(xmp_segment(6)), QUARTERS, (640, 480)),
    "XMP before EXIF": (jpeg(xmp_segment(6), exif_segment(turned(6))), TURNED_6, (480, 640)),
    "large, XMP only": (
        jpeg(xmp_segment(6), picture=quarters(2600, 1950)), QUARTERS, (2600, 1950),
    ),
    "two segments": (
        jpeg(exif_segment(IN_TWO[:65_000]), exif_segment(IN_TWO[65_000:])), TURNED_6, (480, 640),
    ),
    "WebP": (packed(quarters(), "WEBP", exif=turned(5)), TURNED_5, (480, 640)),
    "large WebP": (
        packed(quarters(2600, 1950), "WEBP", exif=turned(6)), TURNED_6, (1950, 2600),
    ),
    "WebP, XMP only": (packed(quarters(), "WEBP", xmp=xmp(6)), QUARTERS, (640, 480)),
    "PNG": (png(chunk(b"eXIf", turned(6))), TURNED_6, (480, 640)),
    "AVIF": (packed(quarters(), "AVIF", exif=turned(6), quality=90), TURNED_6, (480, 640)),
    "AVIF, XMP only": (packed(quarters(), "AVIF", xmp=xmp(6), quality=90), QUARTERS, (640, 480)),
    "broken EXIF": (jpeg(exif_segment(BROKEN_EXIF)), QUARTERS, (640, 480)),
    "PNG, broken EXIF": (png(chunk(b"eXIf", BROKEN_EXIF)), QUARTERS, (640, 480)),
    "WebP, broken EXIF": (packed(quarters(), "WEBP", exif=BROKEN_EXIF), QUARTERS, (640, 480)),
    "no end mark": (JPEG[:-2], QUARTERS, (640, 480)),
    "filling": (JPEG[:TABLES] + b"\0\0\0" + JPEG[TABLES:], QUARTERS, (640, 480)),
    "Adobe RGB": (odd_photos.in_adobe_rgb(), QUARTERS, (640, 480)),
    "Display P3": (odd_photos.in_display_p3(), QUARTERS, (640, 480)),
    "CMYK": (packed(quarters().convert("CMYK"), "JPEG", quality=90), QUARTERS, (640, 480)),
    "GIF": (packed(quarters(), "GIF"), QUARTERS, (640, 480)),
    "HEIC": (packed(quarters(), "HEIF", quality=90), QUARTERS, (640, 480)),
    "strip": (jpeg(picture=quarters(20_000, 100)), QUARTERS, (20_000, 100)),
}  # fmt: skip

# The colour in the middle of each quarter, as the page would paint it.
LOOK = """async (address) => {
    const image = new Image();
    image.src = address;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 64;
    const brush = canvas.getContext("2d", { willReadFrequently: true });
    brush.drawImage(image, 0, 0, 64, 64);
    const quarters = [[0, 0], [32, 0], [0, 32], [32, 32]].map(([x, y]) => {
        const { data } = brush.getImageData(x + 8, y + 8, 16, 16);
        const mean = (c) => data.filter((_, n) => n % 4 === c).reduce((a, b) => a + b) / 256;
        return [0, 1, 2].map(mean);
    });
    return { size: [image.naturalWidth, image.naturalHeight], quarters };
}"""


@pytest.fixture
def received(deliver, work, provider, message):
    """These photos by the provider's webhook, with their copies made; in the order sent."""

    def receive(*photos: bytes) -> list[MediaAttachment]:
        sent = message(media=[provider.serve(photo) for photo in photos])
        assert deliver(sent.payload()).status_code == 204
        work()
        db.session.expire_all()
        return list(db.session.scalars(sa.select(MediaAttachment).order_by("position")))

    return receive


def link_to(*media: MediaAttachment) -> str:
    user = accounts.add("olivia@crack.example", User.Role.OWNER, "Olivia")
    _, token = sharing.create("Wall", media, now() + timedelta(days=7), user)
    db.session.commit()
    return f"/s/{token}"


@pytest.mark.parametrize("names", [list(PHOTOS)[:9], list(PHOTOS)[9:18], list(PHOTOS)[18:]])
def test_a_photo_is_the_same_small_closely_and_sent_out(names, received, page):
    media = received(*(PHOTOS[name][0] for name in names))
    link = link_to(*media)
    page.goto("/photos")

    for place, (name, one) in enumerate(zip(names, media, strict=True), 1):
        _, expected, size = PHOTOS[name]
        closely = page.evaluate(LOOK, f"/media/{one.id}/full")
        assert (tuple(closely["size"]), (one.width, one.height)) == (size, size), name
        assert distance(closely["quarters"], expected) <= 8, name
        for copy in (f"/media/{one.id}/thumbnail", f"/media/{one.id}/preview",
                     f"{link}/{place}/download", f"{link}/{place}/picture"):  # fmt: skip
            seen = page.evaluate(LOOK, copy)
            assert distance(seen["quarters"], closely["quarters"]) <= 4, (name, copy)
        downloaded = page.evaluate(LOOK, f"{link}/{place}/download")
        assert tuple(downloaded["size"]) == size, name
        assert one.copy_problem is None, name


STRIPS = {
    "a seam": quarters(20_000, 100),
    "a page of screenshots": quarters(1170, 14_000),
    "a dot": quarters(2, 2),
}


def smallest(page: Page, selector: str) -> float:
    """The shorter side of it, of what can be seen of it on the screen."""
    found = page.locator(selector).first
    expect(found).to_be_visible()
    side: float = found.evaluate(
        """(one) => {
            const { left, right, top, bottom } = one.getBoundingClientRect();
            const across = Math.min(right, innerWidth) - Math.max(left, 0);
            return Math.min(across, Math.min(bottom, innerHeight) - Math.max(top, 0));
        }"""
    )
    return side


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("name", STRIPS)
def test_a_strip_is_seen_and_hit_everywhere(name, viewport, received, open_page):
    [media] = received(packed(STRIPS[name], "PNG"))
    link = link_to(media)
    conversation = db.session.scalar(sa.select(Conversation.id))
    page = open_page(viewport=viewport)
    sides: dict[str, Any] = {}

    page.goto(f"/conversations/{conversation}")
    sides["conversation"] = smallest(page, "a[data-slide]")
    page.locator("a[data-slide]").click()
    expect(page.locator(".lightbox__layer--preview")).to_be_visible()
    page.wait_for_timeout(500)  # it has grown to its place
    sides["lightbox"] = smallest(page, ".lightbox__picture")
    for where, address, selector in (
        ("gallery", "/photos", "a[data-slide]"),
        ("unfiled", "/unfiled", ".snap__image"),
        ("details", f"/media/{media.id}/passport", ".passport__picture img"),
        ("share", link, ".shared__photo"),
        ("shared photo", f"{link}/1", ".shared__large img"),
    ):
        page.goto(address)
        sides[where] = smallest(page, selector)

    assert {where: side for where, side in sides.items() if side < 44} == {}
