"""The gallery: all that was sent, narrowed as asked, and many files at once."""

import hashlib
import io
import re
import subprocess
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask.testing import FlaskClient

from tests.conftest import BOTH
from tests.payloads import load
from tests.support.factories import NOW, customer, days, files, photos, quote, text, voicemail
from tests.support.pages import Page
from tests.support.pictures import picture
from viewer.extensions import db
from viewer.models import AuditEntry, Conversation, ConversationAlias, MediaAttachment, Message
from viewer.office import filing
from viewer.web.media import gallery

State, MediaType = MediaAttachment.State, MediaAttachment.MediaType


@pytest.fixture(autouse=True)
def noon() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def page(client: FlaskClient) -> Callable[..., Page]:
    def get(address: str, status: int = 200) -> Page:
        answer = client.get(address)
        assert answer.status_code == status, answer.text
        return Page(answer.text)

    return get


def of(conversation: Conversation) -> str:
    return f"/conversations/{conversation.id}/photos"


def shown(page: Page) -> list[uuid.UUID]:
    return [uuid.UUID(li["data-tile"]) for li in page.all("li") if "data-tile" in li]


def ticked(page: Page, tag: str) -> set[str | None]:
    """The values of what is checked or selected."""
    mark = {"input": "checked", "option": "selected"}[tag]
    return {attrs.get("value") for attrs in page.all(tag) if mark in attrs}


def ids(media: list[MediaAttachment]) -> set[uuid.UUID]:
    return {one.id for one in media}


# --- What is there -------------------------------------------------------------------------


@BOTH
def test_everything_sent_is_there_the_newest_first(page):
    dana, evan = customer(name="Dana Whitfield"), customer("+16175550124")
    old = photos(dana, 2, NOW - days(3))
    new = photos(evan, 1, NOW - days(1))

    found = page("/photos")

    assert shown(found)[0] == new[0].id
    assert set(shown(found)[1:]) == ids(old)
    assert "Yesterday" in found.text
    assert "Friday, September 18" in found.text
    assert "3 files" in found.text
    assert "Dana Whitfield" in found.text
    assert "(617) 555-0124" in found.text


@BOTH
def test_a_conversation_has_its_own_gallery(page):
    dana, evan = customer(name="Dana Whitfield"), customer("+16175550124")
    mine, _ = photos(dana, 2), photos(evan, 2)

    found = page(of(dana))

    assert set(shown(found)) == ids(mine)
    assert "Dana Whitfield" in found.text
    assert found.links(f"/conversations/{dana.id}") != []


def test_a_conversation_that_was_joined_to_another_leads_to_its_gallery(client):
    dana, former = customer(), uuid.uuid4()
    db.session.add(ConversationAlias(provider_id=str(former), conversation_id=dana.id))
    db.session.commit()

    answer = client.get(f"/conversations/{former}/photos")

    assert (answer.status_code, answer.location) == (301, of(dana))
    assert client.get(f"/conversations/{uuid.uuid4()}/photos").status_code == 404


def test_each_state_has_its_look(page):
    message = text(customer())
    safe = files(message)[0]
    gone, coming = (
        files(message, state=state, sha256=None, file_size=None, source_key=state)[0]
        for state in (State.NEEDS_ATTENTION, State.PENDING)
    )
    trashed = files(message, state=State.TRASHED, source_key="t")[0]

    found = page("/photos")

    assert set(shown(found)) == {safe.id, gone.id, coming.id}
    assert trashed.id not in shown(found)
    assert "Photo: not available at the provider" in found.text
    assert "Photo: on its way" in found.text
    assert [box["value"] for box in found.all("input", name="media")] == [str(safe.id)]


def test_a_tile_opens_the_viewer_and_leads_to_its_message(page):
    media = photos(customer(name="Dana Whitfield"))[0]
    media.width, media.height, media.placeholder = 900, 600, "data:image/webp;base64,AA=="
    media.thumbnail_path, media.preview_path = "a_thumb.jpg", "a_preview.jpg"
    db.session.commit()

    found = page("/photos")

    link = next(a for a in found.all("a") if "data-slide" in a)
    assert link["data-slide"] == str(media.id)
    assert link["href"] == f"/media/{media.id}/preview"
    thumbnail = found.all("img", src=f"/media/{media.id}/thumbnail")[0]
    assert (thumbnail["width"], thumbnail["height"], thumbnail["loading"]) == ("900", "600", "lazy")
    assert thumbnail["alt"] == "Photo from Dana Whitfield, Sep 21, 12:00 PM"
    assert found.links(f"/conversations/{media.conversation_id}#message-{media.message_id}")


def test_a_tile_says_what_its_photo_is_linked_to(page):
    dana = customer()
    media, _ = photos(dana, 2)
    filing.link([media], quote(dana, "Q-104"), None)
    db.session.commit()

    assert page("/photos").text.count("Linked to Q-104") == 1


def test_what_we_sent_says_so(page):
    dana = customer(name="Dana Whitfield")
    files(text(dana, direction=Message.Direction.OUTGOING, sender="+16175550100"))

    assert "To Dana Whitfield" in page("/photos").text
    assert "Sent by us" in page(of(dana)).text


def test_photos_of_many_single_days_stand_under_their_months(page):
    dana = customer()
    for number in range(6):
        photos(dana, 1, NOW - days(20 * number))

    found = page(of(dana))

    assert "September 2026" in found.text
    assert "August 2026" in found.text
    assert "Yesterday" not in found.text


def test_a_day_begins_and_ends_where_the_company_is(page):
    dana = customer()
    photos(dana, 1, datetime(2026, 9, 21, 3, 59, tzinfo=UTC))  # a minute before midnight
    photos(dana, 1, datetime(2026, 9, 21, 4, 0, tzinfo=UTC))

    found = page(of(dana))

    assert [li["data-group"] for li in found.all("section")] == ["2026-09-21", "2026-09-20"]


def test_an_empty_gallery_says_what_will_be_here(page):
    assert "No photo yet." in page("/photos").text
    assert "of this conversation" in page(of(customer())).text


@BOTH
def test_older_ones_come_a_page_at_a_time_and_none_twice(page, monkeypatch):
    monkeypatch.setattr(gallery, "PAGE", 4)
    dana = customer()
    sent = [one for number in range(3) for one in photos(dana, 3, NOW - timedelta(hours=number))]
    address: str | None = "/photos?kind=photos"
    found: list[uuid.UUID] = []

    for _ in range(3):
        assert address
        one = page(address)
        found += shown(one)
        address = next((a["href"] for a in one.all("a", rel="next")), None)

    assert address is None
    assert len(found) == 9
    assert set(found) == ids(sent)


def test_photos_of_one_message_stand_as_they_are_swiped(page, client):
    dana = customer()
    media = photos(dana, 5)
    for one in media:
        one.thumbnail_path, one.downloaded_at = "a.jpg", NOW
    db.session.commit()

    swiped = client.get("/photos/slides").json["slides"]

    assert shown(page("/photos")) == [one.id for one in reversed(media)]
    assert [slide["id"] for slide in swiped] == [str(one.id) for one in reversed(media)]


def test_a_place_that_is_none_is_a_clear_error(client):
    for place in ("nonsense", "1_2_3_4", "1e999_a_1_b", ""):
        answer = client.get(f"/photos?before={place}")
        assert answer.status_code == (400 if place else 200)


# --- Filters -------------------------------------------------------------------------------


@pytest.fixture
def mixed(app: Any) -> dict[str, uuid.UUID]:
    """One of everything, of two customers."""
    dana, evan = customer(name="Dana Whitfield"), customer("+16175550124", "Evan Ng")
    unfiled, linked, aside = photos(dana, 3, NOW - days(2))
    filing.link([linked], quote(dana, "Q-104"), None)
    filing.mark_not_needed([aside], None)
    here = text(evan, NOW - days(10))
    found = {
        "unfiled": unfiled,
        "linked": linked,
        "aside": aside,
        "voicemail": voicemail(evan, NOW - days(10)),
        "video": files(here, media_type=MediaType.VIDEO, mime_type="video/mp4", source_key="v")[0],
        "document": files(here, media_type=MediaType.DOCUMENT, source_key="d")[0],
        "coming": files(here, state=State.PENDING, sha256=None, source_key="c")[0],
        "troubled": files(here, state=State.NEEDS_ATTENTION, sha256=None, source_key="n")[0],
    }
    db.session.commit()
    return {name: one.id for name, one in found.items()}


NARROWED = {
    "": "unfiled linked aside voicemail video document coming troubled",
    "kind=photos": "unfiled linked aside coming troubled",
    "kind=videos": "video",
    "kind=sounds": "voicemail",
    "kind=documents": "document",
    "filed=linked": "linked",
    "filed=unfiled": "unfiled video document",
    "filed=not-needed": "aside",
    "state=safe": "unfiled linked aside voicemail video document",
    "state=waiting": "coming",
    "state=attention": "troubled",
    "since=2026-09-19": "unfiled linked aside",
    "until=2026-09-18": "voicemail video document coming troubled",
    "since=2026-09-19&until=2026-09-19": "unfiled linked aside",
    "since=2026-09-20": "",
    "sender=dana": "unfiled linked aside",
    "sender=Whitfield+Dana": "unfiled linked aside",
    "sender=nobody": "",
    "sender=(617)+555-0124": "voicemail video document coming troubled",
    "sender=%2B1+617.555.0124": "voicemail video document coming troubled",
    "sender=0124": "voicemail video document coming troubled",
    "sender=%25": "",
    "sender=evan&kind=videos&filed=unfiled&state=safe&until=2026-09-18": "video",
    "kind=photos&filed=linked&since=2026-09-20": "",
}


@BOTH
def test_filters_narrow_and_combine(mixed, page):
    for query, wanted in NARROWED.items():
        found = page(f"/photos?{query}")

        assert {name for name, one in mixed.items() if one in shown(found)} == set(
            wanted.split()
        ), query
        assert len(shown(found)) == len(wanted.split()), query


def test_filters_survive_in_every_address(mixed, page):
    query = "kind=photos&filed=unfiled&sender=dana&since=2026-09-01"

    found = page(f"/photos?{query}")

    assert found.links("kind=videos&filed=unfiled&sender=dana&since=2026-09-01")
    assert found.links("kind=photos&sender=dana&since=2026-09-01")  # without one of them
    assert found.all("input", name="kind", value="photos")
    assert found.all("input", name="sender", value="dana")
    assert ticked(found, "option") == {"unfiled"}
    assert "From dana" in found.text
    assert "1 photo " in found.text


def test_filters_that_nothing_meets_can_be_taken_away(mixed, page):
    found = page("/photos?kind=documents&state=attention")

    assert "Nothing here is like that." in found.text
    assert found.all("a", href="/photos")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("since=yesterday", "“yesterday” is no date"),
        ("until=2026-02-30", "“2026-02-30” is no date"),
        ("until=9999-12-31", "“9999-12-31” is no date"),
        ("since=2026-09-02&until=2026-09-01", "Since Sep 1, 2026"),  # the wrong way round
    ],
)
def test_a_day_that_is_none_is_said_beside_its_field_and_kept(page, query, words):
    found = page(f"/photos?{query}&sender=dana&filed=linked")

    assert words in found.text
    assert found.all("input", name="sender", value="dana")
    assert ticked(found, "option") == {"linked"}
    typed = query.split("=")[1].split("&")[0]
    assert found.all("input", value=typed)


def test_a_filter_that_we_never_offered_is_not_found(client):
    for query in ("kind=x", "filed=x", "state=x"):
        assert client.get(f"/photos?{query}").status_code == 404


@BOTH
def test_a_groups_gallery_is_narrowed_by_person(page):
    group = customer("+16175550123,+16175550124", "")
    customer("+16175550124", "Evan Ng")
    dana = files(text(group, sender="+16175550123"))
    evan = files(text(group, sender="+16175550124"))
    ours = files(text(group, direction=Message.Direction.OUTGOING, sender="+16175550100"))

    everybody = page(of(group))

    assert "Evan Ng" in everybody.text
    assert len(shown(everybody)) == 3
    assert shown(page(f"{of(group)}?sender=%2B16175550123")) == [dana[0].id]
    assert shown(page(f"{of(group)}?sender=%2B16175550124")) == [evan[0].id]
    assert shown(page(f"{of(group)}?sender=us")) == [ours[0].id]
    page(f"{of(group)}?sender=%2B16175550199", 404)


def test_nobody_chooses_among_one_sender(page):
    dana = customer()
    photos(dana)

    assert page(of(dana)).all("select", name="sender") == []


def test_nobody_counts_beyond_a_thousand(page, monkeypatch):
    monkeypatch.setattr(gallery, "COUNTED", 3)
    dana = customer()
    photos(dana, 3)
    exactly = page("/photos?kind=photos").text
    photos(dana, 1)

    assert "3 photos" in exactly
    assert "3+ photos" in page("/photos?kind=photos").text


@BOTH
def test_the_viewer_swipes_through_what_the_filters_left(client, mixed, page):
    for one in db.session.scalars(sa.select(MediaAttachment)):
        one.thumbnail_path, one.downloaded_at = f"{one.id}.jpg", NOW
    db.session.commit()
    query = "kind=photos&filed=unfiled&sender=dana"
    listed = [a["data-slide"] for a in page(f"/photos?{query}").all("a") if "data-slide" in a]
    address = next(
        d["data-slides"] for d in page(f"/photos?{query}").all("div") if "data-slides" in d
    )

    found = client.get(f"{address}&around={mixed['unfiled']}").json

    assert [slide["id"] for slide in found["slides"]] == listed == [str(mixed["unfiled"])]
    assert (found["total"], found["first"]) == (1, 1)
    assert client.get(f"{address}&around={mixed['linked']}").status_code == 404
    assert len(client.get("/photos/slides").json["slides"]) == 4  # three photos and a video


# --- Selection -----------------------------------------------------------------------------


def test_all_on_a_page_are_selected_by_a_link(page):
    photos(customer(), 3)

    link = next(a["href"] for a in page("/photos").all("a") if "data-selection-all" in a)

    assert len(ticked(page(link), "input")) == 3


@BOTH
def test_the_ids_of_all_that_match_are_told(client, mixed, monkeypatch):
    dana = db.session.get(MediaAttachment, mixed["linked"]).conversation_id

    everything = client.get("/photos/ids").json
    hers = client.get(f"/photos/ids?conversation_id={dana}&kind=photos&filed=unfiled").json
    monkeypatch.setattr(gallery, "MOST_FILES", 2)
    newest = client.get("/photos/ids").json

    assert set(everything["ids"]) == {
        str(one) for name, one in mixed.items() if name not in ("coming", "troubled")
    }
    assert everything["more"] is False
    assert hers["ids"] == [str(mixed["unfiled"])]
    assert (newest["more"], newest["ids"]) == (True, everything["ids"][:2])
    assert client.get("/photos/ids?since=x").status_code == 400
    assert client.get("/photos/ids?conversation_id=x").status_code == 400
    assert client.get(f"/photos/ids?conversation_id={uuid.uuid4()}").status_code == 404


# --- ZIP -----------------------------------------------------------------------------------


@pytest.fixture
def sent(deliver: Any, work: Any, provider: Any, message: Any) -> Callable[..., list[Any]]:
    """Photos that came home, the whole way."""

    def send(*colours: str, **words: Any) -> list[MediaAttachment]:
        before = {one.id for one in db.session.scalars(sa.select(MediaAttachment))}
        served = [provider.serve(picture(90, 60, colour)) for colour in colours]
        assert deliver(message(media=served, **words).payload()).status_code == 204
        work()
        rows = db.session.scalars(
            sa.select(MediaAttachment).order_by(MediaAttachment.sent_at, MediaAttachment.position)
        )
        return [row for row in rows if row.id not in before]

    return send


def unzip(answer: Any) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_chosen_photos_come_as_a_zip_with_their_sums(sent, client):
    grey, teal, red = sent("grey", "teal", "red")

    answer = client.post("/photos/zip", data={"media": [teal.id, red.id]})
    found = unzip(answer)

    assert answer.content_length == len(answer.data)
    assert list(found) == [
        "2026-09-21 10.13.19 photo 2.jpg", "2026-09-21 10.13.19 photo 3.jpg", "SHA256SUMS"
    ]  # fmt: skip
    assert hashlib.sha256(found["2026-09-21 10.13.19 photo 2.jpg"]).hexdigest() == teal.sha256
    assert f"{red.sha256}  2026-09-21 10.13.19 photo 3.jpg" in found["SHA256SUMS"].decode()
    assert grey.sha256 not in found["SHA256SUMS"].decode()
    assert "617" in answer.headers["Content-Disposition"]


def test_a_whole_conversation_comes_as_a_zip(sent, client):
    grey, teal = sent("grey", "teal")
    files(db.session.get(Message, grey.message_id), state=State.PENDING, sha256=None, position=7)

    found = unzip(client.post("/photos/zip", data={"conversation_id": grey.conversation_id}))

    assert next(iter(found)) == "MISSING.txt"
    assert b"photo 8.jpg: on its way" in found["MISSING.txt"]
    assert {hashlib.sha256(content).hexdigest() for content in found.values()} >= {
        grey.sha256, teal.sha256
    }  # fmt: skip


def test_photos_of_several_customers_lie_in_folders(sent, client):
    one = sent("grey")
    other = sent("teal", sender="+16175550124", conversation="CNtest2")

    found = unzip(client.post("/photos/zip", data={"media": [m.id for m in one + other]}))

    assert set(found) == {
        "(617) 555-0123/2026-09-21 10.13.19 photo 1.jpg",
        "(617) 555-0124/2026-09-21 10.13.19 photo 1.jpg",
        "SHA256SUMS",
    }


def test_a_download_stands_in_the_trail(sent, log_in):
    media = sent("grey", "teal")

    log_in("field").post("/photos/zip", data={"media": [m.id for m in media]})

    entry = db.session.scalars(sa.select(AuditEntry).filter_by(action="download")).one()
    assert (entry.who, entry.words) == ("field@crack.example", "2 files as a ZIP")
    assert entry.subject_id == media[0].conversation_id


def test_nothing_selected_is_said_where_one_was(client):
    answer = client.post("/photos/zip", data={"next": "/photos?kind=videos"})
    page = client.get(answer.location)

    assert (answer.status_code, answer.location) == (303, "/photos?kind=videos")
    assert "Select at least one file first." in page.text
    assert client.post("/photos/zip", data={"media": "x"}).status_code == 400
    assert client.post("/photos/zip", data={"next": "//evil.example"}).location == "/"


def test_what_was_put_away_is_never_in_a_zip(sent, client):
    grey, teal = sent("grey", "teal")
    grey.state = State.TRASHED
    db.session.commit()

    found = unzip(client.post("/photos/zip", data={"media": [grey.id, teal.id]}))

    assert grey.sha256 not in {hashlib.sha256(content).hexdigest() for content in found.values()}


def test_a_form_of_another_site_downloads_nothing(sent, client):
    media = sent("grey")
    client.form_token = ""

    assert client.post("/photos/zip", data={"media": media[0].id}).status_code == 400


# --- Fast, whatever the size of the table --------------------------------------------------


@contextmanager
def queries() -> Iterator[list[tuple[str, Any]]]:
    said: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        said.append((statement, parameters))

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)


@BOTH
def test_forty_tiles_ask_as_much_as_four(page):
    dana = customer(name="Dana Whitfield")
    record = quote(dana)

    def ask() -> int:
        with queries() as said:
            page("/photos")
        return len(said)

    filing.link(photos(dana, 4), record, None)
    db.session.commit()
    few = ask()
    for number in range(6):
        filing.link(photos(dana, 6, NOW - timedelta(hours=number)), record, None)
    db.session.commit()

    assert ask() == few < 12


INDEXED = {
    "/photos": "ix_media_attachments_gallery",
    "/photos?kind=videos": "ix_media_attachments_kind",
    "/photos?filed=unfiled": "ix_media_attachments_unfiled_gallery",
    "/photos?filed=linked": "ix_media_attachments_linked",
    "/photos?filed=not-needed": "ix_media_attachments_set_aside",
    "/photos?state=attention": "ix_media_attachments_unsettled",
    "/photos?state=waiting": "ix_media_attachments_unsettled",
    "/photos?since=2026-09-01&until=2026-09-02": "ix_media_attachments_gallery",
}


@pytest.mark.parametrize("address", INDEXED)
@pytest.mark.on_sqlite("reads SQLite's query plans")
def test_each_filter_is_answered_from_an_index(page, address):
    dana = customer()
    media = photos(dana, 9)

    with queries() as said:
        page(address)
    asked = [one for one in said if "FROM media_attachments" in one[0] and "ORDER BY" in one[0]]
    plan = [
        row[3]
        for row in db.session.connection().exec_driver_sql(
            f"EXPLAIN QUERY PLAN {asked[0][0]}", asked[0][1]
        )
    ]

    assert media
    assert any(re.search(rf"media_attachments USING .*{INDEXED[address]}\b", line) for line in plan)
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan  # only what is of one moment is sorted


def test_long_names_in_another_script_unpack_on_linux(
    deliver, work, message, provider, client, tmp_path
):
    """A hundred letters of Chinese are three hundred bytes; Linux takes 255 for a name."""
    contact = load("d3_contact_updated")
    contact["data"]["resource"]["firstName"] = "裂" * 100
    deliver(contact)
    for number in range(2):
        sent = message(
            media=[provider.serve(picture())],
            sender=f"+1617555012{3 + number}",
            conversation=f"CNzip{number}",
        )
        deliver(sent.payload())
    work()
    ids = list(db.session.scalars(sa.select(MediaAttachment.id)))

    archive = tmp_path / "photos.zip"
    archive.write_bytes(client.post("/photos/zip", data={"media": ids}).data)
    subprocess.run(["unzip", "-q", archive, "-d", tmp_path / "out"], check=True)

    unpacked = [path for path in (tmp_path / "out").rglob("*.png") if path.is_file()]
    unpacked += [path for path in (tmp_path / "out").rglob("*.jpg") if path.is_file()]
    assert [path.read_bytes() for path in unpacked] == [picture()] * 2
