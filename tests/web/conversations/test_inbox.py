"""The inbox: what it can be narrowed to, and what is new to whom."""

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.support.conversations import called, stored
from tests.support.pages import Page
from tests.support.pictures import picture
from viewer.extensions import db, now
from viewer.models import Conversation, MediaAttachment, Message, PhoneLine, Unread, User
from viewer.web.conversations import inbox

NOW = datetime(2026, 9, 21, 16, 0, tzinfo=UTC)  # noon in New York
VOICE = {
    "media_type": MediaAttachment.MediaType.AUDIO,
    "role": MediaAttachment.Role.VOICEMAIL,
    "mime_type": "audio/mpeg",
}
TROUBLE = {"state": MediaAttachment.State.NEEDS_ATTENTION, "problem": "Gone."}


def shown(found: Page) -> list[uuid.UUID]:
    return [uuid.UUID(link.rpartition("/")[2]) for link in found.links("/conversations/")]


@pytest.fixture
def many(talk, attach, client) -> list[Conversation]:
    """Conversations with everything that can be asked for, in every mixture of two kinds."""
    owner = db.session.scalars(sa.select(User)).one()
    rows = []
    for number in range(32):
        row = talk(f"+1617555{number:04}", at=NOW - timedelta(hours=number // 2))
        message = row.messages[0]
        if number & 1:
            attach(message, **stored())
        if number & 2:
            attach(message, **stored(**VOICE))
        if number & 4:
            attach(message, **stored(is_unfiled=True, media_type="document"))
        if number & 8:
            attach(message, **TROUBLE, media_type="document")
        if number & 16:
            db.session.add(Unread(user_id=owner.id, conversation_id=row.id, since=message.sent_at))
        rows.append(row)
    db.session.commit()
    return sorted(rows, key=lambda row: (row.latest_at, row.id), reverse=True)


BITS = {"photos": 1, "voicemail": 2, "unfiled": 4, "attention": 8, "unread": 16}


@pytest.mark.proof
@pytest.mark.parametrize("few", [1000, 3])  # begin with the few, or walk
@BOTH
def test_filters_combine_and_page_without_gap_or_repeat(page, many, monkeypatch, few):
    monkeypatch.setattr(inbox, "FEW", few)
    monkeypatch.setattr(inbox, "INBOX_PAGE", 3)
    for words in (
        ["photos"], ["voicemail"], ["unfiled"], ["attention"], ["unread"],
        ["photos", "voicemail"], ["unread", "photos"], ["attention", "unfiled"],
        ["unread", "unfiled", "attention"], list(BITS),
    ):  # fmt: skip
        bits = sum(BITS[word] for word in words)
        wanted = [row.id for row in many if int(row.participants[-4:]) & bits == bits]

        seen, address = [], "/?" + "&".join(f"show={word}" for word in words)
        while address:
            found = page(address)
            seen += shown(found)
            address = next(iter(found.links("before=")), "")

        assert seen == wanted, words


def test_a_chip_adds_its_filter_to_the_others_and_takes_it_away_again(page, many):
    found = page("/?show=photos&show=unread&since=2026-09-01")

    chips = {
        " ".join(words.split()): (address, "aria-current" in attributes)
        for address, attributes, words in re.findall(
            r'<a class="chip" href="([^"]+)"([^>]*)>([^<]+)', found.html
        )
    }
    assert chips == {
        "All": ("/?since=2026-09-01", False),
        "Unread": ("/?show=photos&amp;since=2026-09-01", True),
        "Photos": ("/?show=unread&amp;since=2026-09-01", True),
        "Voicemail": (
            "/?show=unread&amp;show=photos&amp;show=voicemail&amp;since=2026-09-01", False,
        ),
        "Unfiled photos": (
            "/?show=unread&amp;show=photos&amp;show=unfiled&amp;since=2026-09-01", False,
        ),
        "Needs attention": (
            "/?show=unread&amp;show=photos&amp;show=attention&amp;since=2026-09-01", False,
        ),
    }  # fmt: skip
    kept = [field["value"] for field in found.all("input", type="hidden", name="show")]
    assert kept == ["unread", "photos"]


def test_days_are_those_of_the_display_zone_and_both_included(page, talk):
    evening = talk(at=datetime(2026, 9, 22, 3, 59, 59, tzinfo=UTC))  # still the 21st in New York
    midnight = talk("+16175550124", at=datetime(2026, 9, 22, 4, 0, tzinfo=UTC))

    assert shown(page("/?since=2026-09-21&until=2026-09-21")) == [evening.id]
    assert shown(page("/?since=2026-09-22")) == [midnight.id]
    assert shown(page("/?until=2026-09-22&since=2026-09-21")) == [midnight.id, evening.id]
    assert shown(page("/?since=2026-09-22&until=2026-09-21")) == [midnight.id, evening.id]
    assert (
        "Last message September 21, 2026 to September 22, 2026"
        in page("/?since=2026-09-22&until=2026-09-21").text
    )


@pytest.mark.parametrize("day", ["yesterday", "2026-13-01", "9999-12-31", "0001-01-01", "%00"])
def test_a_day_that_is_none_is_said_and_nothing_typed_is_lost(page, talk, day):
    conversation = talk()

    found = page(f"/?since={day}&until=2027-01-01")

    if day != "0001-01-01":
        assert "is no date. Write it as 2026-09-21." in found.text
    assert shown(found) == [conversation.id]
    assert found.all("input", name="until")[0]["value"] == "2027-01-01"


@BOTH
def test_where_there_are_several_lines_one_can_be_chosen(page, talk):
    office, van = talk("+16175550120"), talk("+16175550121")
    office.line, van.line = "PNoffice", "PNvan"
    db.session.add(PhoneLine(provider_id="PNoffice", number="+16175550100", name="Office"))
    db.session.commit()
    before = page("/")
    db.session.add(PhoneLine(provider_id="PNvan", number="+16175550101"))
    db.session.commit()

    both, one = page("/"), page("/?line=PNvan")

    assert before.all("select") == []
    assert [o["value"] for o in both.all("option")] == ["", "PNoffice", "PNvan"]
    assert shown(one) == [van.id]
    assert "on (617) 555-0101" in one.text
    assert shown(page("/?line=PNnobody")) == []


def test_an_inbox_in_which_nothing_is_left_says_what_that_means(page, talk):
    talk()

    assert "Nothing is unread." in page("/?show=unread").text
    assert "No file needs attention." in page("/?show=attention").text
    assert "Nothing is unfiled." in page("/?show=unfiled").text
    assert "Dates are those of the last message." in page("/?since=2030-01-01").text
    assert "voicemail, unfiled photos" in page("/?show=unfiled&show=voicemail").text
    assert page("/?show=unread").links("/")[-1] == "/"


# --- A line of it --------------------------------------------------------------------------


@BOTH
def test_a_line_says_the_last_words_and_who_said_them(page, talk):
    group = talk("+16175550130,+16175550131", messages=3, body="Group {}")
    called("+16175550131", "Rosa", "Lindqvist")
    group.messages[-1].sender = "+16175550131"
    ours = talk("+16175550132", messages=2, body="Words {}")
    ours.messages[-1].direction = Message.Direction.OUTGOING
    alone = talk("+16175550133", messages=2, apart=timedelta(0), body="Alone {}")
    db.session.commit()

    text = page("/").text

    assert "Rosa Lindqvist: Group 2" in text
    assert "You: Words 1" in text
    last = max(alone.messages, key=lambda message: message.id)
    assert f" {last.body}" in text
    assert "Words 0" not in text


def test_a_line_counts_what_is_there_and_what_is_to_be_done(page, talk, attach):
    row = talk(messages=2)
    for unfiled in (True, True, False):
        attach(row.messages[0], **stored(is_unfiled=unfiled))
    attach(row.messages[1], **stored(**VOICE))
    attach(row.messages[1], **TROUBLE)
    attach(row.messages[1], **stored(state=MediaAttachment.State.TRASHED, is_unfiled=True))
    every = talk("+16175550144")
    attach(every.messages[0], **stored(is_unfiled=True))
    for media_type in ("photo", "photo", "video", "document", "document"):
        attach(every.messages[0], **stored(media_type=media_type, is_unfiled=True))
    attach(every.messages[0], **stored(media_type="audio", role="recording"))
    alone = talk("+16175550145")
    attach(alone.messages[0], **stored(is_unfiled=True))

    with time_machine.travel(NOW, tick=False):
        found = page("/")

    assert "1 needs attention 4 photos, 2 unfiled 1 voicemail" in found.text
    assert "3 photos, all unfiled 1 video, unfiled 2 files, all unfiled" in found.text
    assert "1 photo, unfiled" in found.text
    time = found.all("time")[0]
    assert time["datetime"] == "2026-09-21T16:00:00+00:00"
    assert time["title"] == "Monday, September 21, 2026, 12:00:00 PM EDT"


# --- What is new ---------------------------------------------------------------------------


@BOTH
def test_what_comes_in_is_new_to_everybody_until_they_open_it(
    deliver, work, message, provider, log_in
):
    olivia, fay = log_in("owner"), log_in("field")
    for words in ("Hello", "Here it is"):
        deliver(message(text=words, media=[provider.serve(picture())]).payload())
    work()
    address = Page(olivia.get("/").text).links("/conversations/")[0]

    before = [Page(browser.get("/").text).text for browser in (olivia, fay)]
    looked = olivia.get(address)
    after = [Page(browser.get("/").text).text for browser in (olivia, fay)]

    assert looked.status_code == 200
    assert ["2 new" in text for text in before + after] == [True, True, False, True]
    assert ["Inbox 1 unread" in text for text in before + after] == [True, True, False, True]


def test_what_comes_late_is_new_beside_what_was_sent_after_it(deliver, work, message, page):
    sent_at = datetime(2026, 9, 21, 14, 0, tzinfo=UTC)
    for later in (timedelta(minutes=5), timedelta(0)):
        deliver(message(sent_at=sent_at + later).payload())
        work()

    assert "2 new" in page("/").text


def test_older_messages_and_other_doors_leave_it_unread(client, talk, many):
    row = next(row for row in many if int(row.participants[-4:]) & 16)

    client.get(f"/conversations/{row.id}?before=1000000000_{uuid.uuid4()}")
    client.head("/")
    still = db.session.scalars(sa.select(Unread).filter_by(conversation_id=row.id)).all()
    client.get(f"/conversations/{row.id}")
    db.session.rollback()

    assert len(still) == 1
    assert db.session.scalars(sa.select(Unread).filter_by(conversation_id=row.id)).all() == []


@BOTH
def test_a_conversation_is_marked_as_unread_to_come_back_to_it(client, page, talk, log_in):
    row, silent = talk(messages=3), talk("+16175550124")
    silent.messages[0].direction = Message.Direction.OUTGOING
    db.session.commit()

    answers = [client.post(f"/conversations/{one.id}/unread") for one in (row, row, silent)]
    found = page("/")
    opened = page(f"/conversations/{row.id}")

    assert [answer.status_code for answer in answers] == [303] * 3
    assert "1 new" in found.text
    assert " unread" in found.text.split("Text 0")[1]
    assert any("/unread" in (form["action"] or "") for form in opened.all("form"))
    assert "Inbox 1 unread" in opened.text
    assert "new" not in Page(log_in("field").get("/").text).text
    assert client.post(f"/conversations/{uuid.uuid4()}/unread").status_code == 404


@BOTH
def test_all_is_marked_as_read_but_for_what_came_after_the_page(client, page, many):
    form = page("/").all("input", name="seen")[0]
    unread = [row for row in many if int(row.participants[-4:]) & 16]
    after = datetime.fromtimestamp(float(form["value"] or ""), UTC) + timedelta(seconds=1)
    unread[0].latest_at = after
    unread[1].messages[0].created_at = after  # sent long before, and only now brought to us
    db.session.commit()

    answer = client.post("/read", data={"seen": form["value"]})
    left = shown(page("/?show=unread"))

    assert answer.status_code == 303
    assert left == [one.id for one in unread[:2]]
    assert [client.post("/read", data={"seen": u}).status_code for u in ("", "x", "nan")] == [
        400
    ] * 3


@pytest.fixture
def marked(client, page, many):
    """All was marked as read; who was unread then, with the moment, and the form of the undo."""
    owner = db.session.scalars(sa.select(User).filter_by(email="owner@crack.example")).one()
    before = unread_of(owner)
    seen = page("/").all("input", name="seen")[0]["value"]
    answer = client.post("/read", data={"seen": seen}, follow_redirects=True)
    act = Page(answer.text).all("input", name="act")[0]["value"]
    assert unread_of(owner) == {}
    return owner, before, act


def unread_of(user):
    db.session.expire_all()
    rows = db.session.scalars(sa.select(Unread).filter_by(user_id=user.id))
    return {row.conversation_id: row.since for row in rows}


@BOTH
def test_marking_all_as_read_is_undone_exactly(client, marked):
    owner, before, act = marked

    answer = client.post("/read/undo", data={"act": act}, follow_redirects=True)

    assert len(before) > 1
    assert f"{len(before)} conversations unread again." in answer.text
    assert unread_of(owner) == before


@BOTH
def test_what_came_in_between_stays_unread(client, marked, talk):
    owner, before, act = marked
    [again, *_] = before
    new, later = talk("+16175550177"), NOW + timedelta(hours=1)
    db.session.add(Unread(user_id=owner.id, conversation_id=new.id, since=later))
    db.session.add(Unread(user_id=owner.id, conversation_id=again, since=later))
    db.session.commit()

    client.post("/read/undo", data={"act": act})

    assert unread_of(owner) == before | {new.id: later}


def test_it_is_undone_once_and_not_for_another_act(client, marked, log_in):
    owner, before, act = marked

    other = log_in("field").post("/read/undo", data={"act": act}, follow_redirects=True)
    wrong = client.post("/read/undo", data={"act": "x"}, follow_redirects=True)
    untouched = unread_of(owner)
    client.post("/read/undo", data={"act": act})
    again = client.post("/read/undo", data={"act": act}, follow_redirects=True)

    assert untouched == {}
    assert all("Nothing was changed." in answer.text for answer in (other, wrong, again))
    assert unread_of(owner) == before


def test_it_is_not_undone_after_an_hour(client, marked, time_machine_at):
    owner, _, act = marked

    with time_machine_at(now() + timedelta(minutes=61)):
        answer = client.post("/read/undo", data={"act": act}, follow_redirects=True)

    assert "Nothing was changed." in answer.text
    assert unread_of(owner) == {}


def test_a_conversation_that_is_gone_meanwhile_is_left_out(client, marked):
    owner, before, act = marked
    gone = db.session.get(Conversation, next(iter(before)))
    left = {one: since for one, since in before.items() if one != gone.id}
    for row in gone.messages:
        for file in row.media:
            db.session.delete(file)
        db.session.delete(row)
    db.session.delete(gone)
    db.session.commit()

    client.post("/read/undo", data={"act": act})

    assert unread_of(owner) == left


def test_more_than_99_are_not_counted_further(page, talk, client):
    owner = db.session.scalars(sa.select(User)).one()
    long = talk(messages=120)
    rows = [long, *(talk(f"+1617556{n:04}", at=NOW - timedelta(days=1)) for n in range(100))]
    for row in rows:
        db.session.add(
            Unread(user_id=owner.id, conversation_id=row.id, since=long.messages[0].sent_at)
        )
    db.session.commit()

    text = page("/").text

    assert "Inbox 99+ unread" in text
    assert "99+ new" in text


def test_strangers_mark_nothing(anonymous, talk):
    row = talk()

    assert anonymous.post("/read").status_code == 401
    assert anonymous.post("/read/undo").status_code == 401
    assert anonymous.post(f"/conversations/{row.id}/unread").status_code == 401
