"""A file that did not come can be closed, asked for, accepted or refused; each can be undone."""

import html
import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
import time_machine

from tests.support.pages import Page, press_undo
from tests.support.pictures import picture
from tests.support.stored_files import photos, row
from viewer import holdings
from viewer.extensions import db, now
from viewer.models import AuditEntry, MediaAttachment
from viewer.storage import keys

State, Trouble = MediaAttachment.State, MediaAttachment.Trouble
Availability = MediaAttachment.Availability

PAGE = b"<!doctype html><title>Sign in</title><p>Please sign in"


@pytest.fixture
def client(log_in):
    return log_in("office")


@pytest.fixture
def dead(deliver, message, provider, work) -> MediaAttachment:
    """A photo that the provider has no more."""
    deliver(message(media=[provider.serve(b"", status=410)]).payload())
    work()
    return row(db.session.scalars(sa.select(MediaAttachment.id)).one())


@pytest.fixture
def replaced(deliver, message, provider, work) -> MediaAttachment:
    """A photo in whose place a sign-in page came."""
    item = {"url": provider.serve(PAGE), "type": "image/jpeg"}
    deliver(message(media=[item]).payload())
    work()
    return row(db.session.scalars(sa.select(MediaAttachment.id)).one())


def conversation(media: MediaAttachment) -> str:
    return f"/conversations/{media.conversation_id}"


@pytest.mark.parametrize(
    ("how", "expected", "words"),
    [
        ("came_another_way", Availability.CAME_ANOTHER_WAY, "Photo: came another way"),
        ("given_up", Availability.GIVEN_UP, "Photo: given up"),
    ],
)
def test_a_dead_file_is_closed_with_a_reason_and_waited_for_no_longer(
    how, expected, words, dead, client, provider, work
):
    closed = client.post(f"/media/{dead.id}/closing", data={"how": how, "reason": " By  e-mail "})

    media = row(dead.id)
    assert (closed.status_code, closed.location) == (
        303, f"{conversation(dead)}#message-{dead.message_id}",
    )  # fmt: skip
    assert (media.availability, media.closed_reason) == (expected, "By e-mail")
    page = Page(client.get(conversation(dead)).text)
    assert words in page.text
    assert "By e-mail" in page.text
    assert not any("/attempts" in (form["action"] or "") for form in page.all("form"))
    tried = provider.gets(dead.openphone_url)
    with time_machine.travel(now() + timedelta(days=3)):
        work()
    assert provider.gets(dead.openphone_url) == tried
    [entry] = db.session.scalars(sa.select(AuditEntry).filter_by(action="close"))
    assert entry.subject_id == dead.id
    assert entry.words.endswith("By e-mail")


def test_it_is_closed_from_the_status_page_and_undone_there(dead, client, provider, work):
    status = client.get("/status").text
    assert f"/media/{dead.id}/closing" in status

    closed = client.post(f"/media/{dead.id}/closing", data={"how": "given_up", "next": "/status"})
    page = client.get(closed.location).text
    assert "Files that need attention" not in page
    undone = press_undo(client, page)

    assert (closed.location, undone.location) == ("/status", "/status")
    media = row(dead.id)
    assert media.availability is Availability.NOT_AVAILABLE
    assert (media.closed_at, media.closed_as, media.closed_reason) == (None, None, None)
    tried = provider.gets(dead.openphone_url)
    work()
    assert provider.gets(dead.openphone_url) == tried + 1
    assert "Files that need attention" in client.get("/status").text


def test_what_is_here_or_was_closed_before_cannot_be_closed(dead, client):
    client.post(f"/media/{dead.id}/closing", data={"how": "given_up", "reason": "first"})

    again = client.post(
        f"/media/{dead.id}/closing", data={"how": "came_another_way", "reason": "second"}
    )
    strange = client.post(f"/media/{dead.id}/closing", data={"how": "lost"})

    assert row(dead.id).closed_reason == "first"
    assert "Nothing was changed" in client.get(again.location).text
    assert strange.status_code == 400


def test_a_closed_file_that_is_announced_at_another_address_comes_after_all(
    deliver, message, provider, work, client
):
    text = message(media=[provider.serve(b"", status=410, name="a")])
    deliver(text.payload())
    work()
    media = row(db.session.scalars(sa.select(MediaAttachment.id)).one())
    client.post(f"/media/{media.id}/closing", data={"how": "given_up"})
    text.media = [f"{provider.serve(picture(), name='a')}?Expires=2"]
    with time_machine.travel(now() + timedelta(minutes=1)):
        told = text.payload()
        deliver(told | {"id": "EVtest-again", "createdAt": now().isoformat()})
        work()

    assert {one.availability for one in photos()} == {Availability.HERE}


def test_only_the_office_settles_files(dead, log_in):
    field = log_in("field")

    answers = {
        field.post(f"/media/{dead.id}/{verb}", data={"how": "given_up"}).status_code
        for verb in ("closing", "reopening", "acceptance", "refusal")
    } | {field.get(f"/media/{dead.id}/{page}").status_code for page in ("asking", "rejected")}

    assert answers == {403}
    assert row(dead.id).state is State.NEEDS_ATTENTION
    assert "settle" not in field.get(conversation(dead)).text


def test_asking_for_it_again_opens_a_draft_in_the_app_of_the_provider(dead, client):
    page = client.get(f"/media/{dead.id}/asking")

    [address] = re.findall(r'href="(openphone:[^"]+)"', page.text)
    link = urlsplit(html.unescape(address))
    given = parse_qs(link.query)
    assert (link.scheme, link.netloc) == ("openphone", "message")
    assert given["number"] == ["+16175550123"]
    assert given["text"] == [
        "Hi, the photo you sent us on Monday, September 21 did not come through."
        " Could you please send it again? Thank you!"
    ]
    assert given["text"][0] in html.unescape(page.text)
    assert f"/media/{dead.id}/asking" in client.get(conversation(dead)).text


def test_what_came_in_its_place_can_be_looked_at_and_never_runs(replaced, client):
    assert replaced.availability is Availability.NOT_THE_FILE

    answer = client.get(f"/media/{replaced.id}/rejected")

    assert (answer.status_code, answer.data) == (200, PAGE)
    assert answer.mimetype == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_what_came_in_its_place_is_accepted_as_the_file(replaced, client, work):
    client.post(f"/media/{replaced.id}/acceptance")
    work()

    media = row(replaced.id)
    assert media.availability is Availability.HERE
    assert media.accepted_at is not None
    with holdings.own().open(media.file_path) as file:
        assert file.read() == PAGE
    saved = client.get(f"/media/{media.id}?download=1")
    assert (saved.status_code, saved.data) == (200, PAGE)
    assert saved.headers["Content-Disposition"].startswith("attachment")
    [entry] = db.session.scalars(sa.select(AuditEntry).filter_by(action="accept"))
    assert entry.subject_id == media.id


def test_what_is_not_kept_any_more_cannot_be_accepted(replaced, client):
    holdings.own().remove(keys.rejected(replaced.id))

    answer = client.post(f"/media/{replaced.id}/acceptance")

    assert "not kept any more" in client.get(answer.location).text
    assert row(replaced.id).availability is Availability.NOT_THE_FILE


def test_a_doubtful_file_is_refused(replaced, client):
    db.session.get(MediaAttachment, replaced.id).trouble = Trouble.DOUBTFUL
    db.session.commit()
    details = client.get(f"/media/{replaced.id}/passport").text
    assert "Perhaps not the file" in details

    client.post(f"/media/{replaced.id}/refusal")

    assert row(replaced.id).availability is Availability.NOT_THE_FILE
    [entry] = db.session.scalars(sa.select(AuditEntry).filter_by(action="refuse"))
    assert entry.subject_id == replaced.id
