"""The unfiled tray: whatever was sent ends linked or not needed."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.support.factories import (
    NOW,
    customer,
    days,
    files,
    linked,
    photos,
    quote,
    text,
    voicemail,
)
from tests.support.pages import Page, ids, notice, press_undo
from viewer.extensions import db, now
from viewer.models import MediaAttachment, Message
from viewer.office import filing
from viewer.web.formatting import age

State = MediaAttachment.State


@pytest.fixture
def maria(app):
    return customer(name="Maria Alvarez")


def tray(client, **words):
    answer = client.get("/unfiled", query_string=words)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def shown(page):
    return [one["value"] for one in page.all("input", name="shown")]


def test_what_a_customer_sends_waits_in_the_tray_until_it_is_linked(
    client, deliver, work, provider, message
):
    from tests.support.pictures import picture

    deliver(message(media=[provider.serve(picture(), content_type="image/jpeg")]).payload())
    before = tray(client)
    work()
    waiting = tray(client)
    media = db.session.scalars(sa.select(MediaAttachment)).one()
    client.post("/work/link", data={"media": media.id, "record": quote(media.conversation).id})
    after = tray(client)

    assert shown(before) == []
    assert shown(waiting) == [str(media.id)]
    assert shown(after) == []
    assert "Nothing waits to be filed." in after.text


def test_the_tray_holds_neither_voicemails_nor_our_own_photos(client, maria):
    voicemail(maria)
    files(text(maria, direction=Message.Direction.OUTGOING), 1, is_unfiled=False)
    files(text(maria), 1, state=State.TRASHED)

    assert shown(tray(client)) == []


def test_customers_stand_together_the_longest_waiting_first_with_age(client, maria):
    bob = customer("+16175550124", name="Bob Chen")
    newest = photos(maria, 1, now() - timedelta(hours=5))
    of_bob = photos(bob, 2, now() - days(9))
    oldest = photos(maria, 1, now() - days(20))

    page = tray(client)

    assert shown(page) == ids([*oldest, *newest, *sorted(of_bob, key=lambda one: one.id.hex)])
    assert page.text.index("Maria Alvarez") < page.text.index("Bob Chen")
    assert "2 photos · oldest 2 weeks" in page.text
    assert "5 hours" in page.text


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=-5), "0 minutes"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(minutes=59), "59 minutes"),
        (timedelta(hours=1), "1 hour"),
        (days(1.9), "1 day"),
        (days(3), "3 days"),
        (days(13), "13 days"),
        (days(14), "2 weeks"),
        (days(70), "2 months"),
        (days(364), "11 months"),
        (days(400), "13 months"),
        (days(800), "2 years"),
    ],
)
def test_an_age_is_told_in_one_unit(ago, words):
    assert age(now() - ago) == words


@BOTH
def test_the_tray_pages_without_gap_or_repeat(client, maria, monkeypatch):
    monkeypatch.setattr("viewer.web.work.unfiled.TRAY_PAGE", 3)
    media = [one for n in range(4) for one in photos(maria, 2, NOW - days(n // 2))]
    seen, page = [], tray(client)
    while True:
        seen += shown(page)
        onward = page.links("after=")
        more = [link for link in onward if "all=" not in link and "#" not in link]
        if not more:
            break
        page = Page(client.get(more[0]).text)

    assert len(seen) == 8
    assert set(seen) == set(ids(media))


def test_one_tap_links_all_of_a_customer_to_the_suggested_quote(client, maria):
    media = photos(maria, 12)
    job = quote(maria, "Q-104")
    page = tray(client)
    assert "Link to Q-104" in page.text

    answer = client.post(
        "/work/link", data={"shown": shown(page), "record": job.id, "next": "/unfiled"}
    )

    assert answer.location == "/unfiled"
    assert set(linked(job)) == {one.id for one in media}


def test_with_some_ticked_only_those_are_meant(client, maria):
    media = photos(maria, 3)
    job = quote(maria)

    client.post("/work/link", data={"shown": ids(media), "media": ids(media[:1]), "record": job.id})
    client.post("/unfiled/not-needed", data={"shown": ids(media), "media": ids(media[1:2])})

    assert linked(job) == [media[0].id]
    assert shown(tray(client)) == [str(media[2].id)]


def test_only_work_that_is_open_is_offered_in_one_tap(client, maria):
    photos(maria)
    quote(maria, "Q-1", status="declined")
    quote(maria, "Q-2", archived_at=NOW)

    page = tray(client)

    assert "Link to Q" not in page.text
    assert "Link to work" in page.text


def test_select_all_works_without_a_script(client, maria):
    photos(maria, 3)
    page = tray(client)
    [link] = page.links("all=")

    ticked = Page(client.get(link).text)

    assert [one for one in page.all("input", type="checkbox") if "checked" in one] == []
    assert len([one for one in ticked.all("input", type="checkbox") if "checked" in one]) == 3


def test_not_needed_can_be_undone(client, maria):
    media = photos(maria, 3)
    client.post("/unfiled/not-needed", data={"shown": ids(media), "next": "/unfiled"})
    after = notice(client)
    left = shown(Page(after))

    press_undo(client, after)

    assert "3 photos marked as not needed." in after
    assert left == []
    assert set(shown(tray(client))) == set(ids(media))


def test_what_is_not_needed_stays_in_sight_and_can_come_back(client, maria):
    media = photos(maria, 2)
    client.post("/unfiled/not-needed", data={"media": ids(media)})
    page = tray(client, show="not-needed")

    client.post("/unfiled/needed", data={"media": ids(media[:1])})

    assert {one["value"] for one in page.all("input", name="media")} == set(ids(media))
    assert "1 photo back among the unfiled." in notice(client)
    assert shown(tray(client)) == [str(media[0].id)]
    assert len(tray(client, show="not-needed").all("input", name="media")) == 1


def test_two_people_in_one_tray_do_not_undo_each_other(client, log_in, maria):
    media = photos(maria, 2)
    job = quote(maria, "Q-104")
    log_in("field").post("/work/link", data={"media": ids(media), "record": job.id})

    client.post("/unfiled/not-needed", data={"shown": ids(media)})

    assert "these files are filed already" in notice(client)
    assert len(linked(job)) == 2
    assert {one.not_needed_at for one in media} == {None}


@pytest.mark.parametrize(("count", "words"), [(0, None), (3, "3"), (120, "99+")])
def test_the_navigation_counts_what_waits(client, maria, count, words):
    if count:
        photos(maria, count)

    page = client.get("/").text
    item = page.split('href="/unfiled"')[1].split("</a>")[0]

    assert ("tabs__count" in item) == (words is not None)
    assert words is None or f">{words}<" in item


@pytest.mark.parametrize("customers", [1, 20])
def test_the_tray_asks_the_database_as_often_for_many_customers_as_for_one(client, app, customers):
    for n in range(customers):
        who = customer(f"+1617555{100 + n:04}")
        photos(who, 2)
        filing.link(photos(who), quote(who), None)
    db.session.commit()
    asked = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda *what: asked.append(what[2]))

    tray(client)

    selects = [one for one in asked if one.lstrip().upper().startswith("SELECT")]
    assert len(selects) <= 9


@pytest.mark.parametrize("words", [{"after": "nowhere"}, {"show": "not-needed", "after": "x_y"}])
def test_a_place_that_cannot_be_is_refused(client, words):
    assert client.get("/unfiled", query_string=words).status_code == 400


def test_the_page_of_a_customers_words_stays_a_page(client, app):
    who = customer(name="<script>alert(1)</script>")
    quote(who, '"><img src=x>')
    photos(who)

    page = tray(client)

    assert "<script>alert" not in page.html
    assert "<img src=x>" not in page.html
