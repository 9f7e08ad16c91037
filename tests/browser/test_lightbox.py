"""The lightbox, the whole way: from a signed webhook to the pixel of a hairline crack."""

import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pillow_heif
import pytest
import sqlalchemy as sa
from PIL import Image, ImageDraw
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import DESK, PHONE, cramped, violations
from tests.browser.fingers import Fingers, opened, until
from tests.support import call_events, samples
from tests.support.sounds import tone
from tests.support.stored_files import twin
from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment

pillow_heif.register_heif_opener()

MORNING = datetime(2026, 9, 21, 13, 0, tzinfo=UTC)
CURRENT = ".pswp__item[aria-hidden=false]"
PREVIEW = f"document.querySelector('{CURRENT} .lightbox__layer--preview')?.naturalWidth"
SHARP = "document.querySelector('.lightbox__layer--full')?.naturalWidth"


def wall(width: int = 1200, height: int = 900, kind: str = "JPEG", number: int = 0) -> bytes:
    """A wall with a crack of one pixel."""
    picture = Image.new("RGB", (width, height), (188, 186 - 8 * number, 180))
    draw = ImageDraw.Draw(picture)
    draw.line([(width * 0.3, 0), (width * 0.35, height * 0.5), (width * 0.4, height)], (30, 28, 26))
    draw.rectangle(
        [width * 0.6, height * 0.2, width * 0.8, height * 0.4], (160, 150 - 9 * number, 90)
    )
    out = io.BytesIO()
    picture.save(out, kind, **({"enc_params": {"preset": "ultrafast"}} if kind == "HEIF" else {}))
    return out.getvalue()


@pytest.fixture
def conversation(deliver, work, provider, message):
    """Three texts with photos and a voicemail. Its address."""

    def make(*texts: list[bytes]) -> str:
        for n, files in enumerate(texts):
            sent = message(
                media=[provider.serve(file) for file in files],
                sent_at=MORNING + timedelta(minutes=n),
                text=f"Text {n + 1}",
            )
            assert deliver(sent.payload()).status_code == 204
        for event in call_events.voicemail(provider.serve(tone(20), content_type="audio/wav")):
            assert deliver(event).status_code == 204
        work()
        return f"/conversations/{db.session.scalar(sa.select(Conversation.id))}"

    return make


@pytest.fixture
def four(conversation):
    return conversation(
        [wall(number=0), wall(number=1)], [wall(3000, 2250, number=2)], [wall(900, 1200, number=3)]
    )


def show(page: Page, address: str, number: int = 1) -> None:
    """Open the photo with this number, by its thumbnail."""
    page.goto(address)
    page.locator("a[data-slide]").nth(number - 1).click()
    counted(page, number)


def counted(page: Page, number: int, total: int = 4) -> None:
    expect(page.locator(".lightbox__count")).to_have_text(f"{number} of {total}")
    until(page, "!document.querySelector('.lightbox')?.style.opacity.startsWith('0.0')")
    until(page, f"document.querySelector('{CURRENT} .lightbox__picture')")


def at_rest(page: Page) -> None:
    """Nothing slides any more."""
    until(
        page,
        "(() => { const x = document.querySelector('.pswp__container').style.transform;"
        " const same = x === window.lastX; window.lastX = x; return same; })()",
    )


def width_shown(page: Page) -> float:
    """How wide the current picture is on the screen."""
    found: float = page.evaluate(
        "() => document.querySelector('.pswp__item[aria-hidden=false] .lightbox__picture')"
        ".getBoundingClientRect().width"
    )
    return found


class Asked:
    """Which files were asked for."""

    def __init__(self, page: Page) -> None:
        self.paths: list[str] = []
        page.on("request", lambda request: self.paths.append(request.url.split("/", 3)[3]))

    def of(self, media: MediaAttachment, copy: str = "") -> int:
        return self.paths.count(f"media/{media.id}{copy}")


def media(position: int = 0) -> MediaAttachment:
    return db.session.scalars(
        sa.select(MediaAttachment)
        .where(MediaAttachment.media_type == MediaAttachment.MediaType.PHOTO)
        .order_by(MediaAttachment.sent_at, MediaAttachment.message_id, MediaAttachment.position)
    ).all()[position]


# --- From the webhook to the pixel ---------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "HEIF", "TIFF"])
def test_every_pixel_comes_once_somebody_looks_that_closely(kind, conversation, page):
    address = conversation([wall(3000, 2250, kind)])
    photo = media()
    copy = "" if kind == "JPEG" else "/full"
    asked = Asked(page)
    page.goto(address)
    page.locator("a[data-slide]").click()
    counted(page, 1, total=1)
    opened(page)
    until(page, "document.querySelector('.lightbox__layer--preview')?.naturalWidth === 2048")
    assert asked.of(photo, copy) == 0

    for _ in range(6):
        page.keyboard.press("+")

    until(page, f"{SHARP} === 3000")
    assert asked.of(photo, copy) == 1
    # The crack of one pixel, in the page's own eyes.
    dark = page.evaluate(
        """() => {
            const image = document.querySelector('.lightbox__layer--full');
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            const row = context.getImageData(890, 0, 60, 1).data;
            return [...row].filter((value, n) => n % 4 === 0 && value < 110).length;
        }"""
    )
    assert 1 <= dark <= 3


def test_a_small_photo_is_all_there_from_the_beginning(four, page):
    asked = Asked(page)
    show(page, four)
    opened(page)

    for _ in range(6):
        page.keyboard.press("+")
    until(page, "document.querySelector('.lightbox--closer')")

    assert asked.of(media()) == 0
    assert page.locator(".lightbox__note").inner_text() == ""


def test_a_slow_picture_is_first_a_blur_then_small_then_large_and_stands_still(four, page):
    held: list[Route] | None = []
    page.route("**/preview", lambda r: r.continue_() if held is None else held.append(r))
    page.goto(four)
    page.locator("a[data-slide]").nth(2).click()
    counted(page, 3)
    opened(page)
    until(page, "document.querySelector('.lightbox__layer--thumbnail')?.naturalWidth === 480")
    before = page.locator(f"{CURRENT} .lightbox__picture").bounding_box()

    late, held = held, None
    for route in late:
        route.continue_()

    until(
        page,
        f"{PREVIEW} === 2048",
    )
    after = page.locator(f"{CURRENT} .lightbox__picture").bounding_box()
    assert before == after


def test_the_next_two_are_fetched_ahead(four, page):
    asked = Asked(page)
    show(page, four, 1)

    until(
        page,
        "performance.getEntriesByType('resource')"
        ".filter(({name}) => name.endsWith('/preview')).length >= 3",
    )
    assert [asked.of(media(n), "/preview") for n in range(4)] == [1, 1, 1, 0]


def test_a_picture_that_does_not_come_says_so_and_can_be_tried_again(four, page):
    page.expected_errors.append("ERR_FAILED")
    page.route("**/preview", lambda route: route.abort())
    show(page, four)
    note = page.locator(".lightbox__note")
    expect(note).to_contain_text("This photo could not be loaded.")

    page.unroute("**/preview")
    note.get_by_role("button", name="Try again").click()

    expect(note).to_be_empty()
    until(
        page,
        f"{PREVIEW} > 0",
    )


def test_detail_that_does_not_come_leaves_the_preview_and_says_so(four, page):
    page.expected_errors.append("500")
    photo = media(2)
    page.route(f"**/media/{photo.id}", lambda route: route.fulfill(status=500))
    show(page, four, 3)
    opened(page)
    for _ in range(6):
        page.keyboard.press("+")
    note = page.locator(".lightbox__note")
    expect(note).to_contain_text("The full detail could not be loaded.")

    page.unroute(f"**/media/{photo.id}")
    note.get_by_role("button", name="Try again").click()

    until(page, f"{SHARP} === 3000")


def test_without_the_list_what_is_on_the_page_can_be_swiped_through(four, page):
    page.expected_errors.append("ERR_FAILED")
    page.route(re.compile(r"/slides\?"), lambda route: route.abort())
    show(page, four, 2)
    opened(page)

    page.keyboard.press("ArrowRight")

    counted(page, 3)
    expect(page.get_by_role("status").filter(has_text="Photo 3 of 4")).to_have_count(1)


@pytest.mark.parametrize(
    "part", ["js/lightbox_dialog.js", "js/lightbox_controls.js", "vendor/photoswipe/*.css"]
)
def test_where_a_part_of_the_viewer_does_not_come_the_link_leads_to_the_picture(four, page, part):
    page.expected_errors.append("ERR_FAILED")
    page.route(f"**/{part}", lambda route: route.abort())
    page.goto(four)
    photo = page.locator("a[data-slide]").nth(1)
    preview = photo.get_attribute("href")

    photo.click()

    page.wait_for_url(f"**{preview}")


# --- By hand -------------------------------------------------------------------------------


def test_a_finger_swipes_from_photo_to_photo(four, page):
    show(page, four, 2)
    opened(page)
    fingers = Fingers(page)

    fingers.move(((300, 400), (60, 410)))
    counted(page, 3)
    at_rest(page)
    fingers.move(((60, 400), (300, 410)))

    counted(page, 2)


def test_two_fingers_zoom_and_a_double_tap_does(four, page):
    show(page, four, 3)
    opened(page)
    fingers = Fingers(page)
    fit = width_shown(page)

    fingers.move(((170, 400), (60, 400)), ((190, 400), (300, 400)))
    until(page, "document.querySelector('.lightbox--closer')")
    pinched = width_shown(page)
    fingers.tap((180, 400))
    fingers.tap((180, 400))
    until(page, "!document.querySelector('.lightbox--closer')")

    assert pinched > fit * 2


def test_a_swipe_down_closes(four, page):
    show(page, four, 2)
    opened(page)

    Fingers(page).move(((180, 300), (185, 640)))

    expect(page.locator(".lightbox")).to_have_count(0)


def test_a_tap_clears_the_view_and_another_brings_the_words_back(four, page):
    show(page, four, 2)
    opened(page)
    fingers = Fingers(page)

    fingers.tap((180, 400))
    until(page, "!document.querySelector('.pswp--ui-visible')")
    fingers.tap((180, 400))

    until(page, "document.querySelector('.pswp--ui-visible')")


def test_the_wheel_zooms_and_a_click_does(four, open_page):
    page = open_page(viewport=DESK, touch=False)
    show(page, four, 3)
    opened(page)
    fit = width_shown(page)

    page.mouse.move(640, 450)
    page.mouse.wheel(0, -400)
    until(page, "document.querySelector('.lightbox--closer')")
    zoomed = width_shown(page)
    page.mouse.click(640, 450)
    until(page, "!document.querySelector('.lightbox--closer')")

    assert zoomed > fit * 1.5


def test_the_keyboard_alone_goes_everywhere(four, page):
    page.goto(four)
    page.locator("a[data-slide]").nth(1).focus()
    page.keyboard.press("Enter")
    counted(page, 2)
    opened(page)

    for key, number in (
        ("ArrowRight", 3),
        ("End", 4),
        ("ArrowRight", 4),
        ("Home", 1),
        ("ArrowLeft", 1),
        ("PageDown", 2),
    ):
        page.keyboard.press(key)
        counted(page, number)
    page.keyboard.press("Escape")

    expect(page.locator(".lightbox")).to_have_count(0)


def test_turning_is_for_the_eye_only_and_lasts_while_it_is_open(four, page):
    show(page, four, 1)
    opened(page)
    upright = page.locator(".lightbox__picture").nth(0).bounding_box()

    page.keyboard.press("r")
    turned = page.locator(f"{CURRENT} .lightbox__picture")
    expect(turned).to_have_attribute("data-turn", "90")
    lying = turned.bounding_box()
    page.keyboard.press("End")
    counted(page, 4)
    page.keyboard.press("Home")
    counted(page, 1)

    expect(turned).to_have_attribute("data-turn", "90")
    assert upright["width"] > upright["height"]
    assert lying["width"] < lying["height"]
    page.get_by_role("button", name="Turn").click()
    expect(turned).to_have_attribute("data-turn", "180")


# --- Where am I ----------------------------------------------------------------------------


def test_it_says_what_is_shown_and_what_can_be_done(four, page):
    show(page, four, 3)
    photo = media(2)

    expect(page.locator(".lightbox__from")).to_contain_text("From (617) 555-0123")
    expect(page.locator(".lightbox__from")).to_contain_text("9:01 AM")
    expect(
        page.get_by_role("status").filter(has_text="Photo 3 of 4, from (617) 555-0123")
    ).to_have_count(1)
    dialog = page.get_by_role("dialog", name="Photo viewer")
    for name, address in {
        "Download the original": f"/media/{photo.id}?download=1",
        "Show the message": f"/messages/{photo.message_id}",
        "Share": f"/shares/new?media={photo.id}",
    }.items():
        expect(dialog.get_by_role("link", name=name)).to_have_attribute("href", address)


def test_whoever_links_a_photo_comes_back_to_it(four, page):
    show(page, four, 3)
    link = page.get_by_role("link", name="Link to a quote")
    expect(link).to_be_visible()

    link.click()

    page.wait_for_url("**/work/link/choose?*")
    assert media(2).id.hex in page.url.replace("-", "")
    page.go_back()
    counted(page, 3)


def test_field_staff_are_not_offered_to_share(four, open_page):
    page = open_page("field")
    show(page, four)

    expect(page.get_by_role("link", name="Link to a quote")).to_be_visible()
    expect(page.get_by_role("link", name="Share")).to_be_hidden()


def test_the_focus_stays_inside_and_returns_to_the_photo_seen_last(four, page):
    show(page, four, 1)
    opened(page)
    for _ in range(25):
        page.keyboard.press("Tab")
        assert page.evaluate(
            "() => document.activeElement === document.body"
            " || !!document.activeElement.closest('.lightbox')"
        )
    page.keyboard.press("ArrowRight")
    counted(page, 2)

    page.get_by_role("button", name="Close", exact=True).click()

    expect(page.locator(".lightbox")).to_have_count(0)
    expect(page.locator(f'a[data-slide="{media(1).id}"]')).to_be_focused()
    assert page.evaluate("() => !document.querySelector('main').inert")


def test_back_closes_it_and_the_page_has_not_moved(four, page):
    page.goto(four)
    page.locator("a[data-slide]").nth(3).click()
    counted(page, 4)
    opened(page)
    place = page.evaluate("() => scrollY")
    page.keyboard.press("ArrowLeft")
    counted(page, 3)
    assert page.url.endswith(f"#photo-{media(2).id}")
    page.keyboard.press("ArrowRight")
    counted(page, 4)

    page.go_back()

    expect(page.locator(".lightbox")).to_have_count(0)
    assert page.url.endswith(four)
    assert place > 0
    until(page, f"scrollY === {place}")


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_back_at_once_closes_what_has_hardly_begun_to_open(four, open_page, motion):
    page = open_page(reduced_motion=motion)
    page.goto("/")
    page.goto(four)

    page.evaluate(
        """() => new Promise((gone) => {
            document.querySelectorAll("a[data-slide]")[1].click();
            addEventListener("popstate", gone, { once: true });
            const look = () => (location.hash ? history.back() : setTimeout(look));
            look();
        })"""
    )

    expect(page.locator(".lightbox")).to_have_count(0)
    assert page.url.endswith(four)
    page.locator("a[data-slide]").nth(1).click()
    counted(page, 2)
    assert page.url.endswith(f"#photo-{media(1).id}")
    page.go_back()
    expect(page.locator(".lightbox")).to_have_count(0)
    assert page.url.endswith(four)


def test_after_a_long_swipe_the_page_shows_the_photo_seen_last(four, page):
    show(page, four, 1)
    opened(page)
    page.keyboard.press("End")
    counted(page, 4)

    page.go_back()

    expect(page.locator(".lightbox")).to_have_count(0)
    expect(page.locator(f'a[data-slide="{media(3).id}"]')).to_be_in_viewport()
    expect(page.locator(f'a[data-slide="{media(3).id}"]')).to_be_focused()


def test_closing_leaves_nothing_for_back_to_close(four, page):
    page.goto("/")
    show(page, four, 1)
    opened(page)
    page.keyboard.press("Escape")
    expect(page.locator(".lightbox")).to_have_count(0)
    until(page, "!location.hash")

    page.go_back()

    expect(page).to_have_title("Conversations · Viewer")


def test_an_address_with_a_photo_in_it_shows_the_photo(four, page):
    page.goto(f"{four}#photo-{media(3).id}")
    counted(page, 4)
    opened(page)

    page.keyboard.press("Escape")

    expect(page.locator(".lightbox")).to_have_count(0)
    assert page.url.endswith(four)


def test_jumping_to_the_message_closes_and_goes_there(four, page):
    show(page, four, 3)
    opened(page)

    page.get_by_role("link", name="Show the message").click()

    expect(page.locator(".lightbox")).to_have_count(0)
    expect(page.locator(f"#message-{media(2).message_id}:target")).to_be_focused()
    assert page.url.endswith(f"#message-{media(2).message_id}")


def test_arriving_photos_disturb_nothing_that_is_open(four, page, deliver, work, provider, message):
    show(page, four, 4)
    opened(page)
    deliver(message(media=[provider.serve(wall())], sent_at=MORNING - timedelta(days=1)).payload())
    work()

    page.evaluate(
        "() => document.dispatchEvent(new CustomEvent('content:added', {detail: document.body}))"
    )
    page.keyboard.press("ArrowLeft")
    counted(page, 3)
    page.keyboard.press("Home")
    counted(page, 1)

    assert page.url.endswith(f"#photo-{media(1).id}")  # the new one is the oldest: not in this list


def long_conversation(conversation: Any) -> tuple[str, MediaAttachment]:
    """One with 150 photos, a day apart: its address, and the first photo."""
    address = conversation([wall()])
    first = media()
    for n in range(1, 150):
        twin(first, f"{n}", sent_at=first.sent_at + timedelta(days=n))
    db.session.commit()
    return address, first


def test_the_whole_conversation_is_there_however_little_of_it_is_on_the_page(conversation, page):
    address, first = long_conversation(conversation)
    page.goto(address)
    page.locator(f'a[data-slide="{first.id}"]').click()
    counted(page, 1, 150)
    opened(page)

    for number in range(2, 60):
        page.keyboard.press("ArrowRight")
        counted(page, number, 150)
    page.keyboard.press("End")
    counted(page, 150, 150)
    for number in range(149, 100, -1):
        page.keyboard.press("ArrowLeft")
        counted(page, number, 150)

    assert page.evaluate("() => document.querySelectorAll('.pswp__item img').length") < 12


@pytest.mark.parametrize("allowed", [0, 5], ids=["at once", "later"])
def test_a_browser_that_wants_no_more_addresses_shows_and_closes_all_the_same(
    conversation, page, allowed
):
    # Safari throws from the hundred and first within half a minute.
    page.add_init_script(
        """for (const name of ["pushState", "replaceState"]) {
            const write = history[name];
            history[name] = function (...words) {
                if ((window.written = (window.written ?? 0) + 1) > ALLOWED) {
                    throw new DOMException("too many", "SecurityError");
                }
                return write.apply(this, words);
            };
        }""".replace("ALLOWED", str(allowed))
    )
    address, first = long_conversation(conversation)
    page.goto(address)
    thumbnail = page.locator(f'a[data-slide="{first.id}"]')
    thumbnail.click()
    counted(page, 1, 150)
    opened(page)
    for number in range(2, 10):
        page.keyboard.press("ArrowRight")
        counted(page, number, 150)
    page.keyboard.press("End")
    counted(page, 150, 150)
    page.keyboard.press("Escape")
    expect(page.locator(".lightbox")).to_have_count(0)

    thumbnail.click()
    counted(page, 1, 150)

    assert page.evaluate("() => window.written") > allowed


# --- Together ------------------------------------------------------------------------------


def test_a_voicemail_goes_on_while_one_swipes(four, page):
    page.goto(four)
    page.get_by_role("button", name="Play voicemail").click()
    until(page, "document.querySelector('audio[hidden]').currentTime > 0.2")
    page.locator("a[data-slide]").nth(1).click()
    counted(page, 2)
    opened(page)
    bar = page.get_by_role("dialog").get_by_role("region", name="Player")
    expect(bar).to_be_visible()
    before = page.evaluate("() => document.querySelector('audio[hidden]').currentTime")

    Fingers(page).move(((300, 400), (60, 410)))
    counted(page, 3)

    until(page, f"document.querySelector('audio[hidden]').currentTime > {before}")
    assert page.evaluate("() => !document.querySelector('audio[hidden]').paused")
    picture = page.locator(f"{CURRENT} .lightbox__picture").bounding_box()
    assert picture["y"] + picture["height"] <= bar.bounding_box()["y"]
    page.keyboard.press("Space")
    until(page, "document.querySelector('audio[hidden]').paused")
    page.keyboard.press("Escape")
    expect(page.locator(".lightbox")).to_have_count(0)


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_in_anybodys_way(four, open_page, viewport, dark):
    media(1).caption = "North wall, left of the bulkhead"
    db.session.commit()
    page = open_page(viewport=viewport, dark=dark)
    page.goto(four)
    page.get_by_role("button", name="Play voicemail").click()
    assert violations(page) == []
    page.locator("a[data-slide]").nth(1).click()
    counted(page, 2)
    opened(page)
    expect(page.locator(".lightbox__caption")).to_have_text("North wall, left of the bulkhead")

    assert violations(page) == []
    assert cramped(page, ".lightbox__button, .player__button") == []
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_with_reduced_motion_nothing_flies(four, open_page):
    page = open_page(reduced_motion="reduce")
    show(page, four, 1)

    flying = "() => document.getAnimations().map((one) => one.effect.target.className)"
    assert page.evaluate(flying) == []
    page.keyboard.press("Escape")
    expect(page.locator(".lightbox")).to_have_count(0)


def test_without_scripts_a_photo_is_a_link_to_its_picture(four, open_page):
    page = open_page(java_script_enabled=False)
    page.expected_errors.append("favicon.ico")  # no icon for a picture that is a page
    page.goto(four)

    page.locator("a[data-slide]").first.click()

    assert page.url.endswith(f"/media/{media().id}/preview")


def test_a_video_plays_in_place_and_stops_the_voicemail(
    page, deliver, work, provider, message, tmp_path
):
    film = samples.film(tmp_path / "film.mp4", frames=40).read_bytes()
    sent: Any = message(media=[provider.serve(film), provider.serve(wall())])
    deliver(sent.payload())
    for event in call_events.voicemail(provider.serve(tone(20), content_type="audio/wav")):
        deliver(event)
    work()
    page.goto(f"/conversations/{db.session.scalar(sa.select(Conversation.id))}")
    page.get_by_role("button", name="Play voicemail").click()
    until(page, "document.querySelector('audio[hidden]').currentTime > 0.1")
    page.get_by_role("link", name="Enlarge").click()
    expect(page.locator(".lightbox__count")).to_have_text("1 of 2")

    expect(page.locator(".lightbox video")).to_be_visible()
    page.evaluate("() => document.querySelector('.lightbox video').play()")
    until(page, "document.querySelector('.lightbox video').currentTime > 0.2")

    assert page.evaluate("() => document.querySelector('audio[hidden]').paused")
    opened(page)
    page.keyboard.press("ArrowRight")
    expect(page.locator(".lightbox__count")).to_have_text("2 of 2")
    until(page, "[...document.querySelectorAll('.lightbox video')].every((video) => video.paused)")
