"""Each state of a file, in each place that tells it: the same words, and no others."""

import io
import re
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import time_machine

from tests.support.conversations import stored
from tests.support.factories import NOW
from tests.support.pages import Page
from tests.support.stored_files import keep
from viewer.extensions import db
from viewer.models import MediaAttachment, Message
from viewer.upkeep import health
from viewer.web.media.gallery_filters import STATES
from viewer.web.wording import AVAILABILITY

State, Trouble, Closing = MediaAttachment.State, MediaAttachment.Trouble, MediaAttachment.Closing
Availability = MediaAttachment.Availability
MediaType = MediaAttachment.MediaType

LOST = {"state": State.NEEDS_ATTENTION, "problem": "The source answered 404."}
CUT = {"trouble": Trouble.INCOMPLETE, "copy_problem": "It ends early."}
# What a row says; what is told of it; the gallery's filters that show it; whether a person is
# asked to look.
CASES: dict[str, tuple[dict[str, Any], Availability, set[str], bool]] = {
    "pending": ({"state": State.PENDING}, Availability.ON_ITS_WAY, {"waiting"}, False),
    "downloading": ({"state": State.DOWNLOADING}, Availability.ON_ITS_WAY, {"waiting"}, False),
    "tried before": (
        {"state": State.PENDING, "problem": "The source answered 503."},
        Availability.ON_ITS_WAY,
        {"waiting"},
        False,
    ),
    "stored": (stored(), Availability.HERE, {"here"}, False),
    "stored, and no copy": (
        stored(thumbnail_path=None, preview_path=None, copy_problem="No decoder."),
        Availability.HERE,
        {"here"},
        False,
    ),
    "incomplete": (stored(**CUT), Availability.INCOMPLETE, {"incomplete", "attention"}, True),
    "incomplete, nothing to see": (
        stored(**CUT, thumbnail_path=None, preview_path=None),
        Availability.INCOMPLETE,
        {"incomplete", "attention"},
        True,
    ),
    "incomplete, accepted": (
        stored(**CUT, accepted_at=NOW),
        Availability.INCOMPLETE,
        {"incomplete"},
        False,
    ),
    "gone": (
        {**LOST, "trouble": Trouble.UNAVAILABLE},
        Availability.NOT_AVAILABLE,
        {"unavailable", "attention"},
        True,
    ),
    "gone, as older versions wrote it": (
        LOST,
        Availability.NOT_AVAILABLE,
        {"unavailable", "attention"},
        True,
    ),
    "too large": (
        {**LOST, "trouble": Trouble.REFUSED},
        Availability.NOT_DOWNLOADED,
        {"refused", "attention"},
        True,
    ),
    "an error page": (
        {**LOST, "trouble": Trouble.NOT_THE_FILE},
        Availability.NOT_THE_FILE,
        {"not-the-file", "attention"},
        True,
    ),
    "doubtful": (
        {**LOST, "trouble": Trouble.DOUBTFUL},
        Availability.DOUBTFUL,
        {"not-the-file", "attention"},
        True,
    ),
    "damaged": (
        stored(state=State.DAMAGED, problem="Other bytes."),
        Availability.DAMAGED,
        {"damaged", "attention"},
        True,
    ),
    "damaged, was incomplete": (
        stored(state=State.DAMAGED, problem="Other bytes.", **CUT),
        Availability.DAMAGED,
        {"damaged", "attention"},
        True,
    ),
    "damaged, no picture": (
        stored(state=State.DAMAGED, problem="Other bytes.", thumbnail_path=None, preview_path=None),
        Availability.DAMAGED,
        {"damaged", "attention"},
        True,
    ),
    "came another way": (
        {"state": State.CLOSED, "closed_as": Closing.CAME_ANOTHER_WAY, "closed_at": NOW},
        Availability.CAME_ANOTHER_WAY,
        {"closed"},
        False,
    ),
    "given up": (
        {
            "state": State.CLOSED,
            "closed_as": Closing.GIVEN_UP,
            "closed_at": NOW,
            "trouble": Trouble.UNAVAILABLE,
        },
        Availability.GIVEN_UP,
        {"closed"},
        False,
    ),
    "trashed": (stored(state=State.TRASHED, trashed_at=NOW), Availability.IN_TRASH, set(), False),
}


def test_every_state_and_every_word_is_among_the_cases():
    # A duplicate is shown as another row: see intake/test_duplicates.py.
    assert {case[0]["state"] for case in CASES.values()} == set(State) - {State.DUPLICATE}
    assert {case[1] for case in CASES.values()} == set(Availability) == set(AVAILABILITY)
    assert {case[0].get("trouble") for case in CASES.values()} == {*Trouble, None}
    shown = set[str]().union(*(case[2] for case in CASES.values()))
    assert shown == set(STATES)


def told(words: str) -> set[Availability]:
    """What a text says of a file's state; the longer of two sentences that overlap."""
    found, text = set(), words.lower()
    for one, phrase in sorted(AVAILABILITY.items(), key=lambda item: -len(item[1])):
        if re.search(rf"\b{phrase.lower()}\b", text):
            found.add(one)
            text = text.replace(phrase.lower(), "")
    return found


@pytest.fixture(params=list(CASES))
def case(request, talk, attach) -> tuple[MediaAttachment, Availability, set[str], bool]:
    values, *expected = CASES[request.param]
    message: Message = talk(body="A crack").messages[0]
    return attach(message, **values), *expected


@pytest.fixture
def read(client) -> Callable[..., str]:
    """The text of a page, or of the part of it that begins with this tag."""

    def fetch(address: str, part: str = "<main") -> str:
        with time_machine.travel(NOW, tick=False):
            page = client.get(address).text
        at = page.find(part)
        end = page.find(f"</{part[1:].split()[0]}>", at)
        without_buttons = re.sub(r"<form.*?</form>", "", page[at:end], flags=re.DOTALL)
        return Page(without_buttons).text + " ".join(re.findall(r'alt="([^"]*)"', page[at:end]))

    return fetch


def test_each_place_tells_the_state_of_its_row(case, client, read):
    media, expected, filters, needs_a_look = case
    page = f"/conversations/{media.conversation_id}"
    is_shown = expected is not Availability.IN_TRASH

    # The conversation: the file, and the receipt of its message.
    figure, receipt = read(page, "<figure"), read(page, '<span class="receipt')
    if is_shown:
        assert told(receipt) == {expected}
        assert told(figure) <= {expected}
        if expected is not Availability.HERE:
            assert told(figure) == {expected}
    else:
        assert (figure, receipt) == ("", "")

    # The gallery: its tile, under the filters that name its state, and no others.
    tile = read("/photos", '<li class="tile')
    assert told(tile) == ({expected} - {Availability.HERE} if is_shown else set())
    for name in STATES:
        assert bool(read(f"/photos?state={name}", '<li class="tile')) == (name in filters), name

    # The inbox.
    with time_machine.travel(NOW, tick=False):
        listed = client.get("/?show=attention").text
        inbox = client.get("/").text
    assert (page in listed) == needs_a_look
    assert ("1 needs attention" in inbox) == needs_a_look

    # The lightbox.
    slides = client.get(f"{page}/slides").json["slides"]
    for slide in slides:
        words = slide["problem"] or AVAILABILITY[Availability.HERE]
        assert expected in told(words) or not told(words)
        assert told(words) <= {expected}

    # Its own page.
    details = read(f"/media/{media.id}/passport", '<div class="notice')
    assert (expected in told(details)) == (expected is not Availability.HERE)

    # The status page, and the counts of machines.
    status = client.get("/status").text
    assert (f"#message-{media.message_id}" in status) == needs_a_look
    row = read("/status", '<li class="row row--settle')
    assert told(row) == ({expected} if needs_a_look else set())
    found = health.read_health({})
    db.session.rollback()
    assert found.needing_attention == int(needs_a_look)
    names = {alarm.name for alarm in found.alarms}
    assert ("media_needs_attention" in names or "media_damaged" in names) == needs_a_look


def test_programs_are_told_the_same(case, client, api):
    media, expected, _, _ = case

    answer = api(f"/media/{media.id}")

    if expected is Availability.IN_TRASH:
        assert answer.status_code == 404
        return
    assert answer.json["availability"] == expected.value
    assert answer.json["state"] == media.state.value
    if expected not in (Availability.HERE, Availability.ON_ITS_WAY):
        assert answer.json["problem"] or media.state is State.CLOSED


def test_what_is_not_served_says_why(case, client):
    media, expected, _, _ = case
    has_bytes = expected in (Availability.HERE, Availability.INCOMPLETE)
    if has_bytes:
        return  # the rows of these cases have none: see test_files

    answer = client.get(f"/media/{media.id}")
    archive = client.post("/photos/zip", data={"media": [str(media.id), str(keep().id)]})

    assert answer.status_code in (404, 410, 425)
    assert told(answer.text.replace("The original is damaged", "Original damaged")) == (
        {expected} if expected is not Availability.IN_TRASH else set()
    )
    with zipfile.ZipFile(io.BytesIO(archive.data)) as found:
        missing = found.read("MISSING.txt").decode() if "MISSING.txt" in found.namelist() else ""
    # Of a file in the trash an archive is silent, as is all else.
    assert told(missing) - {Availability.HERE} == {expected} - {Availability.IN_TRASH}
