"""The player: voicemails and recordings are heard in a real browser, through a real server."""

import io
import math
import re
import struct
import wave
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import request, request_finished
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESK, PHONE, cramped, violations
from tests.browser.fingers import until
from tests.support import call_events, samples, sounds
from tests.support.stored_files import twin
from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, User

VOICES = Path(__file__).parents[2] / "viewer" / "demo" / "voices"
SOUND = "document.querySelector('audio[hidden]')"
SAID = [(n * 1.5, f"Line {n + 1} of what was said, and a little more of it.") for n in range(16)]


def tone(seconds: float) -> bytes:
    """A telephone's WAV: half a minute is half a megabyte."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        second = b"".join(
            struct.pack("<h", round(9000 * math.sin(n / 8) * abs(math.sin(n / 1900))))
            for n in range(8000)
        )
        file.writeframes(second * int(seconds))
    return out.getvalue()


@pytest.fixture
def called(deliver, work, provider, message):
    """A long voicemail, a recorded call with its transcript, another voicemail. Their page."""

    def make(seconds: float = 60, tall: int = 0) -> str:
        url = provider.serve(tone(seconds), content_type="audio/wav")
        for event in call_events.voicemail(url, "Please call me back."):
            deliver(event)
        voice = provider.serve((VOICES / "answered-call.mp3").read_bytes())
        for event in call_events.recorded(voice, SAID):
            deliver(event)
        for event in call_events.voicemail(
            provider.serve(tone(30), content_type="audio/wav"), number=2
        ):
            deliver(event)
        for n in range(tall):
            sent_at = datetime(2026, 9, 21, 17, n, tzinfo=UTC)  # after the calls
            deliver(message(text=f"Text {n}\n" * 8, sent_at=sent_at).payload())
        work()
        return f"/conversations/{db.session.scalar(sa.select(Conversation.id))}"

    return make


def players(page: Page) -> Any:
    return page.locator(".player.is-dressed")


def playing(page: Page, beyond: float = 0) -> None:
    until(page, f"!{SOUND}.paused && {SOUND}.currentTime > {beyond}")


def place(page: Page) -> float:
    found: float = page.evaluate(f"() => {SOUND}.currentTime")
    return found


def test_a_voicemail_plays_and_says_how_far_it_is(called, page):
    page.goto(called())
    player = players(page).first
    expect(player.locator(".player__time")).to_have_text("0:00 / 1:00")
    assert page.evaluate(f"() => {SOUND}.src") == ""  # nothing is fetched before somebody asks

    player.get_by_role("button", name="Play voicemail of (617) 555-0123").click()

    playing(page, 1)
    expect(player.get_by_role("slider")).to_have_attribute("aria-valuetext", "0:01 of 1:00")
    player.get_by_role("button", name="Pause").click()
    until(page, f"{SOUND}.paused")


def test_a_seek_fetches_only_the_part_that_is_heard(called, page, app):
    asked: list[tuple[int, str]] = []

    def note(_app: Any, response: Any, **_more: Any) -> None:
        if request.path.endswith("/playable"):
            asked.append((response.status_code, request.headers.get("Range", "")))

    page.goto(called(seconds=1800))
    # 29 MB, and 2 MB/s: over loopback all of it is there before anybody seeks.
    link = page.context.new_cdp_session(page)
    link.send("Network.enable")
    link.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 20, "downloadThroughput": 2_000_000, "uploadThroughput": -1},
    )
    slider = players(page).first.get_by_role("slider")
    box = slider.bounding_box()

    with request_finished.connected_to(note, app):
        page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
        players(page).first.get_by_role("button", name="Play").click()
        playing(page, place(page) + 0.5)

    starts = [int(part.removeprefix("bytes=").split("-")[0]) for _, part in asked]
    assert {status for status, _ in asked} == {206}
    assert max(starts) > 20_000_000


def test_only_one_plays_at_a_time_and_each_remembers_its_place(called, page):
    page.goto(called())
    first, _, second = (players(page).nth(n) for n in range(3))
    first.get_by_role("button", name="Play").click()
    playing(page, 0.5)

    second.get_by_role("button", name="Play").click()
    playing(page, 0.2)

    expect(first.get_by_role("button", name="Play")).to_be_visible()
    expect(second.get_by_role("button", name="Pause")).to_be_visible()
    assert (
        page.evaluate(
            "() => [...document.querySelectorAll('audio')].filter((a) => !a.paused).length"
        )
        == 1
    )
    first.get_by_role("button", name="Play").click()
    playing(page, 0.5)


def test_ten_seconds_back_and_forward(called, page):
    page.goto(called())
    player = players(page).first
    player.get_by_role("button", name="Forward 10 seconds").click()
    player.get_by_role("button", name="Forward 10 seconds").click()
    player.get_by_role("button", name="Back 10 seconds").click()

    expect(player.locator(".player__time")).to_have_text("0:10 / 1:00")
    player.get_by_role("button", name="Play").click()
    playing(page, 10)


def test_the_keyboard_plays_and_seeks(called, page):
    page.goto(called())
    player = players(page).first
    slider = player.get_by_role("slider")
    slider.focus()

    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "0:10 of 1:00")
    page.keyboard.press("Shift+ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "0:11 of 1:00")
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "0:01 of 1:00")
    page.keyboard.press("Space")
    playing(page, 1)
    page.keyboard.press("Space")
    until(page, f"{SOUND}.paused")
    page.keyboard.press("Home")

    expect(slider).to_have_attribute("aria-valuetext", "0:00 of 1:00")


def thumb(page: Page, slider: Any) -> dict[str, float]:
    """Where the slider's own thumb is: a part of the browser's that no selector reaches."""
    link = page.context.new_cdp_session(page)
    slider.evaluate("one => { window.asked = one; }")
    one = link.send("Runtime.evaluate", {"expression": "window.asked"})["result"]["objectId"]
    tree = link.send("DOM.describeNode", {"objectId": one, "depth": -1, "pierce": True})["node"]

    def find(node: dict[str, Any]) -> int | None:
        if "thumb" in node.get("attributes", []):
            return int(node["backendNodeId"])
        inside = [*node.get("shadowRoots", []), *node.get("children", [])]
        return next((found for part in inside if (found := find(part))), None)

    box = link.send("DOM.getBoxModel", {"backendNodeId": find(tree)})["model"]
    link.detach()
    left, top, right, _, _, bottom, *_ = box["border"]
    return {
        "width": right - left,
        "height": bottom - top,
        "x": (left + right) / 2,
        "y": (top + bottom) / 2,
    }


def played(slider: Any) -> float:
    """Where the part that is drawn as played ends, from the screen's left."""
    found: float = slider.evaluate(
        """one => {
            const { left, width } = one.parentElement.getBoundingClientRect();
            const bars = one.parentElement.querySelector(".player__bars--played");
            const share = bars
                ? 100 - parseFloat(getComputedStyle(bars).clipPath.split(" ")[1])
                : parseFloat(getComputedStyle(one).getPropertyValue("--played"));
            return left + width * share / 100;
        }"""
    )
    return found


def show_bar(page: Page) -> Any:
    page.evaluate("() => scrollTo(0, document.documentElement.scrollHeight)")
    bar = page.get_by_role("region", name="Player")
    expect(bar).to_be_visible()
    return bar


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("where", ["page", "bar"])
def test_a_finger_can_hold_the_hand_and_that_is_where_the_played_part_ends(
    called, open_page, viewport, where
):
    page = open_page(viewport=viewport)
    page.goto(called(tall=12))
    home = players(page).first
    home.get_by_role("button", name="Forward 10 seconds").click()
    if where == "bar":
        home = show_bar(page)
    slider = home.get_by_role("slider")

    for key, says in (
        ("Home", "0:00"),
        ("ArrowRight", "0:10"),
        ("ArrowRight", "0:20"),
        ("End", "1:00"),
    ):
        slider.press(key)
        expect(slider).to_have_attribute("aria-valuetext", f"{says} of 1:00")
        held = thumb(page, slider)

        # An iPhone heeds only a touch inside this box.
        assert held["width"] >= 44
        assert held["height"] >= (44 if where == "page" else 24)  # the bar has buttons below
        assert held["x"] == pytest.approx(played(slider), abs=0.6)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("where", ["page", "bar"])
def test_the_hand_is_held_beside_it_and_goes_along_or_to_a_tap(called, open_page, where):
    page = open_page(touch=False)
    page.goto(called(tall=12))
    home = players(page).first
    for _ in range(3):
        home.get_by_role("button", name="Forward 10 seconds").click()
    if where == "bar":
        home = show_bar(page)
    slider = home.get_by_role("slider")
    hand = thumb(page, slider)
    second = slider.evaluate("one => one.parentElement.clientWidth") / 60

    page.mouse.move(hand["x"] + 18, hand["y"])
    page.mouse.down()
    assert slider.input_value() == "30"  # held, not sent to where it was touched
    page.mouse.move(hand["x"] + 12 * second, hand["y"])
    expect(slider).to_have_attribute("aria-valuetext", "0:42 of 1:00")
    page.mouse.up()
    expect(slider).to_have_attribute("aria-valuetext", "0:42 of 1:00")

    page.mouse.click(hand["x"] + 10 * second, hand["y"])  # on the clear part of the thumb

    expect(slider).to_have_attribute("aria-valuetext", "0:40 of 1:00")


def test_the_wide_hand_is_in_no_buttons_way(called, page):
    page.goto(called(tall=12))
    home = players(page).first
    home.get_by_role("button", name="Forward 10 seconds").click()
    home.get_by_role("slider").press("Home")
    bar = show_bar(page)

    for part in (bar, home):
        part.scroll_into_view_if_needed()
        for button in part.get_by_role("button").all():
            if not button.is_visible():
                continue
            covered = button.evaluate(
                """one => {
                    const { left, top, right, bottom } = one.getBoundingClientRect();
                    const [x, y] = [(left + right) / 2, (top + bottom) / 2];
                    return [[x, y], [left + 2, y], [right - 2, y], [x, top + 2], [x, bottom - 2]]
                        .filter((at) => !one.contains(document.elementFromPoint(...at)));
                }"""
            )
            assert covered == [], button.get_attribute("aria-label")


def test_a_small_bar_follows_where_the_player_is_out_of_sight(called, page):
    page.goto(called(tall=12))
    players(page).first.scroll_into_view_if_needed()
    players(page).first.get_by_role("button", name="Play").click()
    playing(page)
    bar = page.get_by_role("region", name="Player")
    expect(bar).to_be_hidden()

    page.evaluate("() => scrollTo(0, document.documentElement.scrollHeight)")

    expect(bar).to_be_visible()
    tabs = page.get_by_role("navigation", name="Main").bounding_box()
    assert bar.bounding_box()["y"] + bar.bounding_box()["height"] <= tabs["y"] + 1
    last = page.locator("article").last.bounding_box()
    assert last["y"] + last["height"] <= bar.bounding_box()["y"]
    before = place(page)
    bar.get_by_role("button", name="Back 10 seconds").click()
    bar.get_by_role("button", name="Pause").click()
    until(page, f"{SOUND}.paused && {SOUND}.currentTime <= {before} + 1")
    bar.get_by_role("link", name="(617) 555-0123").click()
    until(page, "document.activeElement.closest('.player')")
    expect(bar).to_be_hidden()


def test_closing_the_bar_ends_it(called, page):
    page.goto(called(tall=12))
    players(page).first.get_by_role("button", name="Play").click()
    playing(page)
    page.evaluate("() => scrollTo(0, document.documentElement.scrollHeight)")

    page.get_by_role("button", name="Close the player").click()

    expect(page.get_by_role("region", name="Player")).to_be_hidden()
    until(page, f"{SOUND}.paused")


def test_the_speed_survives_a_reload_and_another_device(called, page, open_page):
    address = called()
    page.goto(address)
    with page.expect_response("**/account/playback-rate") as answer:
        players(page).first.get_by_role("button", name="Speed").click()
    assert answer.value.status == 204

    page.reload()
    players(page).first.get_by_role("button", name="Play").click()

    playing(page)
    assert page.evaluate(f"() => {SOUND}.playbackRate") == 1.25
    expect(players(page).nth(2).get_by_role("button", name="Speed: 1.25 times")).to_be_visible()
    assert db.session.scalars(sa.select(User.playback_rate)).all() == [1.25]
    other = open_page()
    other.goto(address)
    expect(players(other).first.get_by_role("button", name="Speed: 1.25 times")).to_be_visible()


def test_the_speed_holds_on_a_page_without_a_recording(called, page):
    address = called()
    page.goto(address)
    speed = players(page).first.get_by_role("button", name="Speed")
    for fast in ("1.25×", "1.5×", "2×"):
        with page.expect_response("**/account/playback-rate"):
            speed.click()
        expect(speed).to_have_text(fast)
    players(page).first.get_by_role("button", name="Play").click()
    playing(page, 0.2)

    page.goto(f"{address}/photos")

    bar = page.get_by_role("region", name="Player")
    expect(bar.get_by_role("button", name="Speed: 2 times")).to_be_visible()
    until(page, f"{SOUND}.playbackRate === 2")
    with page.expect_response("**/account/playback-rate"):
        bar.get_by_role("button", name="Speed").click()
    assert db.session.scalars(sa.select(User.playback_rate)).all() == [1]  # after 2 comes 1


def test_a_player_goes_on_where_the_page_was_left_however_late_its_events_come(called, page):
    page.add_init_script("addEventListener('timeupdate', e => e.stopImmediatePropagation(), true)")
    address = called()
    page.goto(address)
    players(page).first.get_by_role("button", name="Play").click()
    playing(page, 0.5)

    page.goto(f"{address}/photos")

    expect(page.get_by_role("region", name="Player")).to_be_visible()
    playing(page, 0.4)


def test_a_speed_that_the_account_has_not_heard_of_holds_on_the_next_page(called, page):
    page.expected_errors.append("ERR_FAILED")
    page.route("**/account/playback-rate", lambda route: route.abort())
    page.clock.set_fixed_time(datetime(2026, 9, 21, tzinfo=UTC))  # the next page comes at once
    address = called()
    page.goto(address)
    players(page).first.get_by_role("button", name="Speed").click()
    players(page).first.get_by_role("button", name="Play").click()
    playing(page, 0.2)

    page.goto(f"{address}/photos")

    bar = page.get_by_role("region", name="Player")
    expect(bar.get_by_role("button", name="Speed: 1.25 times")).to_be_visible()


def test_the_first_voicemail_of_a_conversation_comes_with_the_users_speed(
    page, deliver, work, provider, message
):
    deliver(message(sent_at=datetime(2026, 9, 21, 14, tzinfo=UTC)).payload())
    work()
    db.session.execute(sa.update(User).values(playback_rate=2))
    address = f"/conversations/{db.session.scalar(sa.select(Conversation.id))}"
    db.session.commit()
    page.goto(address)
    expect(page.locator("article")).to_have_count(1)

    for event in call_events.voicemail(provider.serve(tone(30), content_type="audio/wav")):
        deliver(event)
    work()

    expect(players(page).get_by_role("button", name="Speed: 2 times")).to_be_visible()
    players(page).get_by_role("button", name="Play").click()
    playing(page)
    assert page.evaluate(f"() => {SOUND}.playbackRate") == 2


def test_lines_of_the_transcript_seek_and_the_current_one_is_seen(called, page):
    page.goto(called())
    call = page.locator(".call", has=page.locator("[data-transcript]"))
    call.locator("summary").click()

    call.get_by_role("link", name="Play from 0:15").click()

    playing(page, 15)
    line = call.locator("[aria-current]")
    expect(line).to_contain_text("Line 11 of")
    until(
        page,
        "(() => { const line = document.querySelector('[data-start][aria-current]')"
        ".getBoundingClientRect();"
        " const box = document.querySelector('[data-transcript]').getBoundingClientRect();"
        " return line.top >= box.top && line.bottom <= box.bottom; })()",
    )
    call.get_by_text("Line 3 of").click()
    until(page, f"{SOUND}.currentTime >= 3 && {SOUND}.currentTime < 12")
    expect(line).not_to_contain_text("Line 11 of")


def test_the_transcript_does_not_run_away_from_a_reader(called, page):
    page.goto(called())
    call = page.locator(".call", has=page.locator("[data-transcript]"))
    call.locator("summary").click()
    call.get_by_role("link", name="Play from 0:00").click()
    playing(page)
    box = call.locator("[data-transcript]")
    box.hover()
    page.mouse.wheel(0, 300)
    until(page, "document.querySelector('[data-transcript]').scrollTop > 100")
    there = page.evaluate("() => document.querySelector('[data-transcript]').scrollTop")

    expect(call.locator("[aria-current]")).to_contain_text("Line 2 of")

    assert page.evaluate("() => document.querySelector('[data-transcript]').scrollTop") >= there


def test_the_lock_screen_knows_what_plays_and_can_seek(called, page):
    page.add_init_script(
        """window.asked = {};
        const set = MediaSession.prototype.setActionHandler;
        MediaSession.prototype.setActionHandler = function (name, act) {
            window.asked[name] = act;
            return set.call(this, name, act);
        };"""
    )
    page.goto(called())
    players(page).first.get_by_role("button", name="Play").click()
    playing(page)

    known = page.evaluate(
        """() => {
            const { title, artist, artwork } = navigator.mediaSession.metadata;
            return [title, artist, artwork.length, navigator.mediaSession.playbackState];
        }"""
    )
    page.evaluate("() => window.asked.seekto({ seekTime: 42 })")
    until(page, f"{SOUND}.currentTime >= 42")
    page.evaluate("() => window.asked.seekbackward({})")
    until(page, f"{SOUND}.currentTime < 36")
    page.evaluate("() => window.asked.pause()")
    until(page, f"{SOUND}.paused")

    assert known == ["Voicemail", "(617) 555-0123", 1, "playing"]


def test_it_goes_on_where_it_was_after_another_page(called, page):
    address = called()
    page.goto(address)
    players(page).first.get_by_role("button", name="Forward 10 seconds").click()
    players(page).first.get_by_role("button", name="Play").click()
    playing(page, 10.5)
    page.goto("/")

    page.goto(address)

    until(page, f"{SOUND}.src && {SOUND}.currentTime >= 10.5")
    expect(players(page).first.locator(".player__time")).not_to_contain_text("0:00 /")


def test_a_recording_that_is_gone_says_so_and_can_be_tried_again(called, page):
    page.expected_errors.append("404")
    page.goto(called())
    recording = db.session.scalars(
        sa.select(MediaAttachment).where(MediaAttachment.duration_seconds == 60)
    ).one()
    recording.state = MediaAttachment.State.TRASHED
    db.session.commit()
    player = players(page).first
    player.get_by_role("button", name="Play").click()
    expect(player.get_by_role("status")).to_contain_text("There is no such file.")

    recording.state = MediaAttachment.State.STORED
    db.session.commit()
    player.get_by_role("button", name="Try again").click()

    playing(page)
    expect(player.get_by_role("status")).to_be_empty()


def test_a_lost_connection_is_said_in_words(called, page):
    page.expected_errors.append("ERR_INTERNET_DISCONNECTED")
    page.goto(called())
    page.context.set_offline(True)
    player = players(page).first
    player.get_by_role("button", name="Play").click()

    expect(player.get_by_role("status")).to_contain_text("There is no connection.")
    page.context.set_offline(False)


def test_what_is_appended_later_has_a_player_too(called, page):
    page.expected_errors.append("404")  # there is no such sound, and nobody plays it
    page.goto(called())
    page.evaluate(
        """() => {
            const copy = document.querySelector('.call').cloneNode(true);
            const player = copy.querySelector('[data-player]');
            player.className = 'player';
            player.dataset.player = 'another';
            const audio = document.createElement('audio');
            audio.src = '/media/x/playable';
            player.replaceChildren(audio);
            document.querySelector('.timeline').append(copy);
            document.dispatchEvent(new CustomEvent('content:added', { detail: copy }));
        }"""
    )

    expect(players(page)).to_have_count(4)


def test_dressing_moves_nothing(called, page):
    page.add_init_script(
        """window.shifts = 0;
        new PerformanceObserver((list) => {
            for (const shift of list.getEntries()) window.shifts += shift.value;
        }).observe({ type: 'layout-shift', buffered: true });"""
    )
    page.goto(called())
    expect(players(page)).to_have_count(3)
    page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )

    assert page.evaluate("() => window.shifts") == 0


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_in_anybodys_way(called, open_page, viewport, dark):
    page = open_page(viewport=viewport, dark=dark)
    page.goto(called(tall=12))
    page.locator("summary", has_text="Transcript").click()
    players(page).first.get_by_role("button", name="Play").click()
    playing(page)
    assert violations(page) == []
    page.evaluate("() => scrollTo(0, document.documentElement.scrollHeight)")
    expect(page.get_by_role("region", name="Player")).to_be_visible()

    assert violations(page) == []
    assert cramped(page, ".player button, .player-bar button") == []
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_what_is_selected_can_be_used_while_something_plays(called, open_page, viewport):
    page = open_page(viewport=viewport)
    address = called()
    voicemail = db.session.scalars(sa.select(MediaAttachment)).first()
    for n in range(60):  # more than there is room for
        twin(voicemail, f"{n}", sent_at=voicemail.sent_at - timedelta(hours=n))
    db.session.commit()
    page.goto(address)
    players(page).first.get_by_role("button", name="Play voicemail").click()
    playing(page, 0.2)
    page.goto(f"{address}/photos")
    expect(page.locator(".player-bar")).to_be_visible()

    page.locator("[data-selection-all]").click()

    actions = page.locator(".selection__action")
    expect(actions.first).to_be_visible()
    covered = actions.evaluate_all(
        """all => all.filter((one) => {
          const { x, y, width, height } = one.getBoundingClientRect();
          return !one.contains(document.elementFromPoint(x + width / 2, y + height - 2));
        }).map((one) => one.outerHTML)"""
    )
    assert covered == []


def test_without_scripts_the_browsers_own_player_is_there(called, open_page):
    page = open_page(java_script_enabled=False)
    page.goto(called())

    assert page.locator("audio[controls]").count() == 3
    expect(page.locator("audio[controls]").first).to_be_visible()


# --- Odd and damaged sounds ------------------------------------------------------------------


@pytest.fixture
def left(deliver, work, provider):
    """Leave these bytes as a voicemail; its row, and its page."""

    def leave(content: bytes) -> tuple[MediaAttachment, str]:
        for event in call_events.voicemail(provider.serve(content, content_type="audio/mpeg")):
            deliver(event)
        work()
        media = db.session.scalars(sa.select(MediaAttachment)).one()
        return media, f"/conversations/{media.conversation_id}"

    return leave


@pytest.mark.parametrize(
    "name", ["layer II", "AIFF", "zeros before MP3", "changes its rate", "AMR in 3GP", "GSM"]
)
def test_the_copy_of_an_odd_voicemail_really_plays(name, left, page, tmp_path):
    media, address = left(sounds.ODD[name][0](tmp_path))

    page.goto(address)
    players(page).first.get_by_role("button", name="Play voicemail").click()

    playing(page, 0.5)
    lasts = page.evaluate(f"() => {SOUND}.duration")
    assert lasts == pytest.approx(media.duration_seconds, abs=0.2)
    until(page, f"{SOUND}.ended || {SOUND}.currentTime > {lasts - 0.3}")


def test_a_voicemail_that_does_not_play_has_no_player_but_its_reason(left, page):
    _, address = left(b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + b"\x01\x02garbage" * 500)

    page.goto(address)

    assert page.locator(".player").count() == 0
    expect(page.get_by_text("nothing in it plays")).to_be_visible()
    with page.expect_download() as download:
        page.locator("a.file").click()
    assert download.value.suggested_filename.endswith("_voicemail.mp3")


def test_a_film_that_does_not_play_has_no_player_but_its_reason(
    deliver, work, provider, message, page, tmp_path
):
    film = samples.film(tmp_path / "film").read_bytes()[:1500]  # without its index
    url = provider.serve(film, content_type="video/mp4")
    deliver(message(media=[url]).payload())
    work()

    page.goto(f"/conversations/{db.session.scalar(sa.select(Conversation.id))}")

    assert page.locator("video").count() == 0
    expect(page.get_by_text("nothing in it plays")).to_be_visible()
    expect(page.locator("a.file")).to_have_attribute("href", re.compile("download=1"))
