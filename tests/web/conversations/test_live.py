"""What an open page is told: everything that changed, nothing else, and mostly nothing at all."""

import re
import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.payloads import load
from tests.support.conversations import stored
from tests.support.factories import NOW
from tests.support.pages import Page, counted
from tests.support.pictures import picture
from viewer.extensions import db, now
from viewer.models import (
    ConversationAlias,
    MediaAttachment,
    MediaLink,
    Message,
    UserSession,
    WorkRecord,
)
from viewer.web.conversations import live, pages

State = MediaAttachment.State


class Watcher:
    """A page that stays open, as static/js/news.js keeps it."""

    def __init__(self, client, address):
        self.client = client
        opened = Page(client.get(address).text)
        [timeline] = [div for div in opened.all("div") if "data-news" in div]
        self.url = timeline["data-news"]
        self.etags = f'W/"{timeline["data-etag"]}"'
        articles = opened.all("article")
        # Without older messages it begins where the conversation begins, wherever that will be.
        has_older = bool(opened.links("before="))
        self.places = {"since": articles[0]["data-position"]} if has_older else {}
        if "data-ends" in timeline:
            self.places["until"] = articles[-1]["data-position"]

    def ask(self):
        return self.client.get(
            self.url, query_string=self.places, headers={"If-None-Match": self.etags}
        )

    def changed(self):
        """The messages that are not as this page has them; then it has them."""
        answer = self.ask()
        self.etags = answer.headers["ETag"]
        if answer.status_code == 304:
            assert answer.data == b""
            return []
        assert answer.status_code == 200
        found = Page(answer.text)
        return [
            uuid.UUID(article["id"].removeprefix("message-")) for article in found.all("article")
        ]


@pytest.fixture
def watch(client):
    return lambda row, more="": Watcher(client, f"/conversations/{row.id}{more}")


@BOTH
def test_nothing_new_costs_a_304_and_few_questions(watch, talk, attach):
    row = talk(messages=40)
    for message in row.messages:
        attach(message, **stored())
    open_page = watch(row)

    with counted() as asked:
        answer = open_page.ask()

    assert answer.status_code == 304
    assert len(answer.headers["ETag"]) < 400
    assert len(asked) <= 7  # with the session and the conversation
    assert "voicemail_transcript" not in " ".join(asked)


@BOTH
def test_every_change_of_a_message_is_told_once(watch, talk, attach):
    row = talk(messages=4)
    first, second, third, fourth = row.messages
    photo = attach(second, state=State.PENDING)
    voice = attach(third, **stored(mime_type="audio/mpeg"))
    record = WorkRecord(
        kind=WorkRecord.Kind.QUOTE, status=WorkRecord.Status.DRAFT, conversation_id=row.id
    )
    db.session.add(record)
    db.session.commit()
    open_page = watch(row)

    def merge(message, **words):
        message.merge(now(), **words)

    changes = [
        (first, lambda: merge(first, body="Other words")),
        (first, lambda: setattr(first, "status", "delivered")),
        (second, lambda: setattr(photo, "problem", "The source is slow.")),
        (second, lambda: vars_of(photo, **stored(copy_state="due", thumbnail_path=None))),
        (second, lambda: vars_of(photo, copy_state="made", thumbnail_path="t.jpg")),
        (second, lambda: setattr(photo, "caption", "North wall")),
        (second, lambda: db.session.add(MediaLink(media_id=photo.id, record_id=record.id))),
        (second, lambda: setattr(record, "number", "Q-104")),
        (second, lambda: setattr(photo, "state", State.DAMAGED)),
        (second, lambda: setattr(photo, "state", State.TRASHED)),
        (third, lambda: merge(third, voicemail_transcript="It leaks.")),
        (third, lambda: merge(third, summary=["A leak"])),
        (third, lambda: merge(third, transcript=[{"text": "Hello", "start": 0, "end": 1}])),
        (third, lambda: db.session.delete(voice)),
        (fourth, lambda: merge(fourth, sender="+16175550199")),
    ]
    for message, change in changes:
        change()
        db.session.commit()

        assert open_page.changed() == [message.id], message.body
        assert open_page.changed() == []


def vars_of(row, **values):
    for name, value in values.items():
        setattr(row, name, value)


def test_a_new_message_is_told_wherever_it_belongs(watch, talk, deliver, work, message):
    row = talk(messages=3, apart=timedelta(hours=1))
    row.line = "PNtest"
    db.session.commit()
    open_page = watch(row)
    between = row.messages[1].sent_at - timedelta(minutes=30)

    for sent_at in (NOW + timedelta(minutes=5), between):
        text = message(sent_at=sent_at, conversation=None)
        deliver(text.payload())
        work()

        [new] = open_page.changed()
        assert db.session.get(Message, new).provider_id == text.provider_id
        db.session.rollback()


def test_a_page_of_several_parts_asks_with_the_etags_of_all(watch, talk, monkeypatch):
    monkeypatch.setattr(pages, "MESSAGES_PAGE", 5)
    row = talk(messages=12, apart=timedelta(hours=1))
    newest = watch(row)
    older = watch(row, f"?before={newest.places['since']}")
    both = watch(row)
    both.places = {"since": older.places["since"]}  # of twelve messages two stay unseen
    both.etags = f"{newest.etags}, {older.etags}"

    once = both.changed()

    assert once == []  # the pages told all of it; only the number of parts is new
    assert both.ask().status_code == 304


def test_a_page_that_ends_earlier_is_told_that_there_is_more(watch, talk, monkeypatch):
    monkeypatch.setattr(pages, "MESSAGES_PAGE", 4)
    row = talk(messages=8)
    newest = watch(row)
    older = watch(row, f"?before={newest.places['since']}")
    db.session.add(
        Message(conversation_id=row.id, provider_id="ACnew", kind=Message.Kind.TEXT, sent_at=now())
    )
    row.latest_at = now()
    db.session.commit()

    answer = older.ask()

    assert answer.status_code == 200
    assert Page(answer.text).all("article") == []
    assert row.latest_at.isoformat()[:19] in answer.text


def test_of_a_long_page_the_newest_are_watched(watch, talk, monkeypatch):
    monkeypatch.setattr(live, "WATCHED", 3)
    row = talk(messages=6)
    open_page = watch(row)
    open_page.changed()  # how far it is watched

    for message in (row.messages[0], row.messages[5]):
        message.status = "failed"
        db.session.commit()

    assert open_page.changed() == [row.messages[5].id]


def test_a_message_that_moved_away_is_missed(watch, talk, client):
    row, other = talk(messages=3), talk("+16175550124")
    open_page = watch(row)
    row.messages[1].conversation_id = other.id
    db.session.commit()

    found = Page(open_page.ask().text)

    [news] = [div for div in found.all("div") if "data-ids" in div]
    assert news["data-ids"].split() == [row.messages[i].id.hex[:8] for i in (0, 2)]
    assert found.all("article") == []


def test_a_file_on_its_way_is_told_anew_each_minute(watch, talk, attach):
    message = talk().messages[0]
    with time_machine.travel(NOW, tick=False):
        attach(message, state=State.PENDING, created_at=NOW)
        open_page = watch(message.conversation)
    with time_machine.travel(NOW + timedelta(seconds=30), tick=False):
        within = open_page.changed()
    with time_machine.travel(NOW + timedelta(seconds=90), tick=False):
        later = open_page.ask()

    assert within == []
    assert "since 1 min" in later.text


def test_a_conversation_that_became_another_is_still_followed(client, talk):
    row, gone = talk(), uuid.uuid4()
    db.session.add(ConversationAlias(provider_id=str(gone), conversation_id=row.id))
    db.session.commit()

    answer = client.get(f"/conversations/{gone}/news?since=1.0_{gone}")

    assert answer.status_code == 301
    assert client.get(answer.headers["Location"]).status_code == 200
    assert client.get(f"/conversations/{uuid.uuid4()}/news").status_code == 404


@pytest.mark.parametrize("etag", ["", "x", '"', 'W/"!!"', '"a"', '"AAAA:br"', "*", '"é"'])
def test_any_etag_is_answered(etag, talk, client):
    row = talk()

    answer = client.get(f"/conversations/{row.id}/news", headers={"If-None-Match": etag})

    assert answer.status_code == 200
    assert str(row.messages[0].id) in answer.text
    assert client.get(f"/conversations/{row.id}/news?since=x").status_code == 400


def test_what_is_told_is_what_the_page_shows(watch, talk, attach, client):
    row = talk("+16175550123,+16175550145", messages=3)
    attach(row.messages[1], **stored())
    open_page = watch(row)
    open_page.etags = ""

    whole = client.get(f"/conversations/{row.id}").text
    told = open_page.ask().text

    def articles(html):
        found = re.findall(r"<article.*?</article>", html, re.DOTALL)
        return [" ".join(one.replace(' fetchpriority="high"', "").split()) for one in found]

    lazily = [one.replace(' loading="lazy"', "") for one in articles(told)]
    assert lazily == articles(whole)


# --- Who asks ------------------------------------------------------------------------------


def test_who_is_logged_out_is_told_so(client, anonymous, talk):
    row = talk()

    for address in (f"/conversations/{row.id}/news", "/inbox/news"):
        assert client.get(address).status_code == 200
        answer = anonymous.get(address, headers={"Accept": "*/*"})
        assert answer.status_code == 401


def test_a_page_that_only_watches_keeps_nobody_logged_in(client, talk):
    row = talk()
    client.get("/")
    session = db.session.scalars(sa.select(UserSession)).one()
    seen = session.seen_at = now() - timedelta(minutes=30)
    db.session.commit()

    def noted():
        db.session.rollback()
        db.session.expire_all()
        return db.session.scalars(sa.select(UserSession.seen_at)).one() > seen

    client.get(f"/conversations/{row.id}/news")
    client.get("/inbox/news")
    watching = noted()
    db.session.rollback()
    client.get("/")

    assert not watching
    assert noted()


# --- The inbox -----------------------------------------------------------------------------


def test_an_open_inbox_is_told_what_its_list_is_now(client, page, talk):
    talk("+16175550123")
    [address] = [div["data-live"] for div in page("/").all("div") if "data-live" in div]
    first = client.get(address)
    again = {"If-None-Match": first.headers["ETag"]}

    same = client.get(address, headers=again)
    talk("+16175550124", body="Something new")
    other = client.get(address, headers=again)

    assert same.status_code == 304
    assert other.status_code == 200
    assert Page(other.text).all("html") == []
    assert "Something new" in Page(other.text).text
    assert [div for div in Page(other.text).all("div") if div.get("data-live") == address]


def test_the_list_stays_as_it_was_narrowed(page, talk, client):
    talk(body="Nothing of the kind")
    [address] = [
        div["data-live"]
        for div in page("/?show=photos&show=unread").all("div")
        if "data-live" in div
    ]

    assert "show=unread" in address
    assert "show=photos" in address
    assert "Nothing of the kind" not in client.get(address).text


def test_an_older_page_of_the_inbox_stays_as_it_is(page, talk, monkeypatch):
    monkeypatch.setattr("viewer.web.conversations.inbox.INBOX_PAGE", 1)
    talk("+16175550123")
    talk("+16175550124", at=NOW + timedelta(hours=1))
    [older] = page("/").links("before=")

    assert [div for div in page(older).all("div") if "data-live" in div] == []


# --- The whole way -------------------------------------------------------------------------


@BOTH
def test_a_photo_is_followed_from_its_announcement_to_the_picture(
    deliver, work, message, provider, client, page
):
    deliver(message(text="First").payload())
    work()
    [address] = page("/").links("/conversations/")
    open_page = Watcher(client, address)
    deliver(message(text=None, media=[provider.serve(picture())]).payload())
    work()

    answer = open_page.ask()
    told = answer.text

    assert answer.status_code == 200, answer.headers
    assert "/thumbnail" in told
    assert "Photo here" in told
    assert 'data-brings="photo"' in told


def test_the_words_of_a_voicemail_that_come_later_are_told(deliver, work, client, page):
    deliver(load("d3_call_voicemail"))
    work()
    [address] = page("/").links("/conversations/")
    open_page = Watcher(client, address)
    voicemail = load("d3_call_voicemail")
    voicemail["id"] = "EVlater"
    voicemail["createdAt"] = "2026-09-21T15:05:10.000Z"
    voicemail["data"]["resource"]["transcript"] = "It is leaking again."
    deliver(voicemail)
    work()

    assert "It is leaking again." in open_page.ask().text
