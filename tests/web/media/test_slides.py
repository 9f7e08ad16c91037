"""The list that the photo viewer swipes through, the full-size pictures, and the player's words."""

import io
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import flask_migrate
import pillow_heif
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from PIL import Image

from tests.conftest import BOTH
from tests.support import call_events
from tests.support.pictures import picture
from tests.support.query_plans import noted_plans
from tests.support.sounds import tone
from tests.support.stored_files import twin
from viewer.extensions import db
from viewer.models import (
    Contact,
    ContactNumber,
    MediaAttachment,
    MediaLink,
    Message,
    User,
    WorkRecord,
)
from viewer.web.media import slides

pillow_heif.register_heif_opener()

CopyState = MediaAttachment.CopyState
WEDNESDAY = datetime(2026, 9, 16, 12, 0, tzinfo=UTC)


def shaded(size: tuple[int, int] = (60, 40), kind: str = "JPEG", shade: int = 0) -> bytes:
    return picture(*size, (shade % 256, 90, 120), kind)


@pytest.fixture
def sent(deliver, work, provider, message):
    """Photos that came home in one message; their rows in the order sent."""

    def send(*files: bytes, **words: Any) -> list[MediaAttachment]:
        composed = message(media=[provider.serve(one) for one in files], **words)
        assert deliver(composed.payload()).status_code == 204
        work()
        return list(
            db.session.scalars(
                sa.select(MediaAttachment)
                .join(Message)
                .where(Message.provider_id == composed.provider_id)
                .order_by(MediaAttachment.position)
            )
        )

    return send


@pytest.fixture
def many(sent):
    """A conversation with so many photos, an hour apart; their ids in time order."""

    def make(count: int) -> tuple[str, list[str]]:
        [first] = sent(shaded(), sent_at=WEDNESDAY)
        ids = [str(first.id)]
        for n in range(1, count):
            # Of three photos each at one moment the message and the position decide.
            moment = WEDNESDAY + timedelta(hours=n // 3)
            row = twin(first, f"{n}", id=uuid.uuid4(), position=n % 3, sent_at=moment)
            ids.append(str(row.id))
        db.session.commit()
        return f"/conversations/{first.conversation_id}/slides", ids

    return make


def ids(page: dict[str, Any]) -> list[str]:
    return [slide["id"] for slide in page["slides"]]


@BOTH
def test_the_whole_conversation_can_be_swiped_through_from_any_photo(many, client):
    address, every = many(130)

    page = client.get(f"{address}?around={every[70]}").json
    middle = ids(page)
    assert (page["total"], page["first"]) == (130, every.index(middle[0]) + 1)
    assert middle[len(middle) // 2] == every[70]
    seen, left, right = middle, page, page
    while left["before"]:
        left = client.get(f"{address}?before={left['before']}").json
        seen = ids(left) + seen
    while right["after"]:
        right = client.get(f"{address}?after={right['after']}").json
        seen = seen + ids(right)

    assert seen == every
    assert left["first"] == 1
    assert len(middle) <= slides.PAGE + 1


@BOTH
def test_the_first_and_the_last_photos_are_a_jump_away(many, client):
    address, every = many(100)

    first = client.get(f"{address}?at=start").json
    last = client.get(f"{address}?at=end").json

    assert ids(first) == every[: slides.PAGE]
    assert (first["first"], first["before"]) == (1, None)
    assert ids(last) == every[-slides.PAGE :]
    assert (last["first"], last["after"]) == (100 - slides.PAGE + 1, None)


@BOTH
@pytest.mark.parametrize("opened", [0, 4, 45, 99])
def test_of_a_long_list_it_is_a_window_around_the_photo_that_was_opened(
    many, client, monkeypatch, opened
):
    monkeypatch.setattr(slides, "REACH", 30)
    monkeypatch.setattr(slides, "PAGE", 10)
    address, every = many(100)
    within = every[max(0, opened - 30) : opened + 31]

    page = client.get(f"{address}?around={every[opened]}").json
    seen, left, right = ids(page), page, page
    while left["before"]:
        left = ask(client, address, page, before=left["before"])
        seen = ids(left) + seen
    while right["after"]:
        right = ask(client, address, page, after=right["after"])
        seen = seen + ids(right)
    ends = [ask(client, address, page, at=end) for end in ("start", "end")]

    assert seen == within
    assert page["first"] == within.index(ids(page)[0]) + 1
    assert {one["total"] for one in (page, left, right, *ends)} == {len(within)}
    assert {one["is_whole"] for one in (page, left, right, *ends)} == {False}
    assert (ids(ends[0])[0], ids(ends[1])[-1]) == (within[0], within[-1])
    assert (ends[0]["first"], ends[1]["after"]) == (1, None)


def ask(client: FlaskClient, address: str, first: dict[str, Any], **wish: str) -> Any:
    """As the lightbox goes on from its first page."""
    known = {"as_of": first["as_of"], "anchor": first["anchor"]}
    return client.get(address, query_string=known | wish).json


def test_a_short_list_is_told_whole(many, client):
    address, every = many(12)

    page = client.get(address).json

    assert (page["is_whole"], page["total"], page["anchor"]) == (True, 12, every[0])


@pytest.mark.parametrize(("wish", "asked"), [("", 2), ("&at=end", 2), ("&around={}", 4)])
@pytest.mark.on_sqlite("reads SQLite's query plans")
def test_no_list_is_sorted_to_be_swiped_through(many, client, wish, asked):
    _, every = many(12)
    address = "/photos/slides?kind=" + wish.format(every[6])

    with noted_plans() as plans:
        assert client.get(address).status_code == 200

    of_the_list = {text: plan for text, plan in plans.items() if "sent_at" in text}
    assert len(of_the_list) >= asked
    for plan in of_the_list.values():
        assert not any("SCAN media_attachments" in line for line in plan), plan
        assert not any("TEMP B-TREE" in line for line in plan), plan


def test_a_photo_that_arrives_meanwhile_moves_no_other(sent, client):
    [one] = sent(shaded(shade=1), sent_at=WEDNESDAY)
    address = f"/conversations/{one.conversation_id}/slides"
    before = client.get(address).json
    sent(shaded(shade=2), sent_at=WEDNESDAY - timedelta(days=1))

    again = client.get(address, query_string={"as_of": before["as_of"]}).json

    assert (ids(again), again["total"]) == (ids(before), 1)
    assert client.get(address).json["total"] == 2


def test_a_slide_says_what_a_person_wants_to_know(sent, client):
    photo, _ = sent(
        shaded(shade=1), shaded(shade=2), sent_at=datetime(2026, 9, 21, 18, 5, tzinfo=UTC)
    )
    contact = Contact(provider_id="CTtest", first_name="Dana", last_name="Whitfield")
    contact.numbers.append(ContactNumber(number="+16175550123"))
    quote = WorkRecord(
        kind=WorkRecord.Kind.QUOTE,
        conversation_id=photo.conversation_id,
        number="Q-104",
        status=WorkRecord.Status.DRAFT,
    )
    db.session.add_all([contact, quote, MediaLink(media=photo, record=quote)])
    photo.caption = "North wall"
    db.session.commit()

    page = client.get(f"/conversations/{photo.conversation_id}/slides").json
    slide, other = page["slides"]

    assert (page["total"], page["first"], page["before"], page["after"]) == (2, 1, None, None)
    assert slide["sender"] == "Dana Whitfield"
    assert slide["time"].endswith("September 21, 2:05 PM")
    assert (slide["caption"], slide["alt"]) == ("North wall", "North wall")
    assert (slide["width"], slide["height"]) == (60, 40)
    assert slide["uses"] == [{"label": "Q-104", "url": f"/work/{quote.id}"}]
    assert slide["message_url"] == f"/messages/{photo.message_id}"
    assert str(photo.id) in slide["link_url"]
    assert (other["alt"], other["uses"]) == ("Photo from Dana Whitfield", [])
    for name in ("thumbnail", "preview", "download_url"):
        assert client.get(slide[name]).status_code == 200


@pytest.mark.parametrize(("role", "may"), [("field", False), ("office", True), ("owner", True)])
def test_only_who_may_share_is_shown_how(role, may, sent, log_in):
    [photo] = sent(shaded())

    [slide] = log_in(role).get(f"/conversations/{photo.conversation_id}/slides").json["slides"]

    assert bool(slide["share_url"]) is may
    assert slide["link_url"]


def test_what_cannot_be_shown_is_no_slide(sent, client):
    shown, trashed, blind = sent(shaded(shade=1), shaded(shade=2), shaded(shade=3))
    trashed.state = MediaAttachment.State.TRASHED
    blind.thumbnail_path, blind.copy_state = None, CopyState.IMPOSSIBLE
    db.session.commit()

    page = client.get(f"/conversations/{shown.conversation_id}/slides").json

    assert ids(page) == [str(shown.id)]


def test_a_strange_place_in_the_list_is_refused(sent, client, anonymous):
    [here] = sent(shaded(shade=1))
    [elsewhere] = sent(shaded(shade=2), sender="+16175550177", conversation="CNtest2")
    address = f"/conversations/{here.conversation_id}/slides"

    assert client.get(f"{address}?around={elsewhere.id}").status_code == 404
    assert client.get(f"{address}?around=nonsense").status_code == 400
    assert client.get(f"{address}?as_of=yesterday").status_code == 400
    assert client.get(f"{address}?as_of=2026-09-21T10:00:00").status_code == 400
    assert client.get(f"/conversations/{uuid.uuid4()}/slides").status_code == 404
    assert anonymous.get(address).status_code == 401


# --- every pixel ------------------------------------------------------------------------


def test_the_full_size_of_what_browsers_show_is_the_original(sent, client):
    body = shaded((2400, 1600))
    [photo] = sent(body)

    [slide] = client.get(f"/conversations/{photo.conversation_id}/slides").json["slides"]

    assert slide["full"] == f"/media/{photo.id}"
    assert client.get(slide["full"]).data == client.get(f"/media/{photo.id}/full").data == body


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["HEIF", "TIFF"])
def test_the_full_size_of_what_they_do_not_show_is_a_jpeg_as_large(kind, sent, client):
    body = shaded((2400, 1600), kind)
    [photo] = sent(body)

    [slide] = client.get(f"/conversations/{photo.conversation_id}/slides").json["slides"]
    answer = client.get(slide["full"])

    assert answer.content_type == "image/jpeg"
    with Image.open(io.BytesIO(answer.data)) as image:
        assert image.size == (2400, 1600)
    assert client.get(slide["download_url"]).data == body


def test_a_small_photo_has_every_pixel_in_its_preview(sent, client):
    [photo] = sent(shaded((800, 600), "HEIF"))

    [slide] = client.get(f"/conversations/{photo.conversation_id}/slides").json["slides"]

    assert slide["full"] is None
    assert client.get(f"/media/{photo.id}/full").data == client.get(slide["preview"]).data


@pytest.mark.proof
@pytest.mark.parametrize(("state", "status"), [(CopyState.DUE, 425), (CopyState.MADE, 404)])
def test_a_full_size_picture_that_is_not_there_says_why(state, status, sent, client):
    [photo] = sent(shaded((2400, 1600), "HEIF"))
    photo.full_path, photo.copy_state = None, state
    db.session.commit()

    answer = client.get(f"/media/{photo.id}/full", headers={"Accept": "text/plain"})
    [slide] = client.get(f"/conversations/{photo.conversation_id}/slides").json["slides"]

    assert answer.status_code == status
    assert ("being made" if status == 425 else "can be downloaded") in answer.text
    assert bool(slide["full"]) is (status == 425)


@pytest.mark.proof
@BOTH
def test_photos_of_before_get_their_full_size_with_the_migration(sent, work, client):
    [photo] = sent(shaded((2400, 1600), "HEIF"))
    db.session.rollback()
    flask_migrate.downgrade(revision="0008-1")
    flask_migrate.upgrade()

    work()

    db.session.refresh(photo)
    assert photo.full_path
    assert client.get(f"/media/{photo.id}/full").status_code == 200


# --- the page, without any script -------------------------------------------------------


def test_photos_are_plain_links_to_pictures_inside_their_list(sent, client):
    photo, _ = sent(shaded(shade=1), shaded(shade=2))

    page = client.get(f"/conversations/{photo.conversation_id}").text

    assert f'data-slides="/conversations/{photo.conversation_id}/slides"' in page
    assert f'data-slide="{photo.id}" data-width="60" data-height="40"' in page
    assert f'href="/media/{photo.id}/preview"' in page
    assert 'alt="Photo 2 from (617) 555-0123, 10:13 AM"' in page


def test_lines_of_a_transcript_lead_to_their_second_of_the_recording(
    deliver, work, provider, client
):
    url = provider.serve(tone(4), content_type="audio/wav")
    for event in call_events.recorded(url, [(0, "How can we help?"), (1.5, "It leaks again.")]):
        deliver(event)
    work()

    recording = db.session.scalars(sa.select(MediaAttachment)).one()
    page = client.get(f"/conversations/{recording.conversation_id}").text

    assert f'data-transcript="{recording.id}"' in page
    link = f'href="/media/{recording.id}/playable#t=1.5" aria-label="Play from 0:02"'
    assert link in " ".join(page.split())
    assert f'data-player="{recording.id}"' in page
    assert 'controls preload="none"' in page


def test_without_its_recording_a_transcript_is_plain(deliver, work, provider, client):
    for event in call_events.recorded(provider.serve(b"", status=404), [(0, "How can we help?")]):
        deliver(event)
    work()

    message = db.session.scalars(sa.select(Message)).one()
    page = client.get(f"/conversations/{message.conversation_id}").text

    assert "How can we help?" in page
    assert "data-transcript" not in page


def test_the_wave_travels_in_a_hundred_letters(deliver, work, provider, client):
    for event in call_events.voicemail(provider.serve(tone(2), content_type="audio/wav")):
        deliver(event)
    work()

    voicemail = db.session.scalars(sa.select(MediaAttachment)).one()
    page = client.get(f"/conversations/{voicemail.conversation_id}").text
    [wave] = re.findall(r'data-wave="([a-z]*)"', page)

    assert len(wave) == 100
    assert 'data-artist="(617) 555-0123"' in page


# --- how fast ---------------------------------------------------------------------------


def test_the_speed_is_kept_for_the_user_and_for_nobody_else(
    client, log_in, deliver, work, provider
):
    for event in call_events.voicemail(provider.serve(tone(), content_type="audio/wav")):
        deliver(event)
    work()
    other = log_in("office")

    assert client.post("/account/playback-rate", data={"rate": "1.5"}).status_code == 204

    voicemail = db.session.scalars(sa.select(MediaAttachment)).one()
    address = f"/conversations/{voicemail.conversation_id}"
    for page in (address, f"{address}/photos"):
        assert '<meta name="viewer-rate" content="1.5">' in client.get(page).text
        assert '<meta name="viewer-rate" content="1.0">' in other.get(page).text


@pytest.mark.parametrize("rate", ["", "fast", "0", "17", "nan"])
def test_a_speed_that_is_none_is_refused_in_words(rate, client):
    answer = client.post(
        "/account/playback-rate", data={"rate": rate}, headers={"Accept": "text/plain"}
    )

    assert (answer.status_code, answer.text) == (400, "The speed is one of 1, 1.25, 1.5, 2.\n")
    assert db.session.scalars(sa.select(User.playback_rate)).all() == [1.0]


def test_the_speed_is_set_with_the_pages_token_only(client):
    client.form_token = ""

    assert client.post("/account/playback-rate", data={"rate": "2"}).status_code == 400
    assert db.session.scalars(sa.select(User.playback_rate)).all() == [1.0]
