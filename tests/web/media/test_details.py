"""One file and its story: the passport, the caption, the check; the trash and what leaves it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.support import factories, samples
from tests.support.metadata import CAMERA, MODEL, exif
from tests.support.pages import NASTY, Page, counted
from tests.support.pictures import picture
from tests.support.stored_files import keep, stored_bytes
from viewer import holdings
from viewer.extensions import db, now
from viewer.holdings import Finding
from viewer.models import AuditEntry, MediaAttachment, Share, WebhookEvent
from viewer.office import filing, findings

State = MediaAttachment.State


@pytest.fixture
def office(log_in: Callable[..., Any]) -> Any:
    return log_in("office")


def reread(media: MediaAttachment) -> MediaAttachment:
    db.session.rollback()
    db.session.expire_all()
    return db.session.get_one(MediaAttachment, media.id)


def passport(browser: Any, media: MediaAttachment | str) -> Page:
    media_id = media if isinstance(media, str) else media.id
    answer = browser.get(f"/media/{media_id}/passport")
    assert answer.status_code == 200
    return Page(answer.text)


# --- The passport --------------------------------------------------------------------------


def test_a_passport_tells_where_a_photo_came_from_and_which_bytes_it_is(
    deliver, work, provider, message, office, log_in
):
    sent = samples.packed(samples.corner_picture(), "JPEG", exif=exif(1))
    url = provider.serve(sent, content_type="image/jpeg", name="crack east.jpg")
    deliver(message(media=[url]).payload(), delivery_id="msg_first")
    work()
    media = db.session.scalars(sa.select(MediaAttachment)).one()
    event = db.session.scalars(sa.select(WebhookEvent)).one()

    page, for_field = passport(office, media), passport(log_in("field"), media)

    for words in (
        "(617) 555-0123", "Monday, September 21, 2026, 10:13:19 AM EDT", media.sha256,
        f"{len(sent):,} bytes", "640 × 480", "image/jpeg", "Thumbnail", "Preview",
        f"{CAMERA} {MODEL}", "2026-09-21 10:13:19 -04:00", "42.361100° N, 71.057000° W",
        "No quote, visit or invoice yet", "Not shared", "Not since it came",
    ):  # fmt: skip
        assert words in page.text, words
        assert words in for_field.text, words
    assert page.links(f"/messages/{media.message_id}")
    assert page.links(f"/conversations/{media.conversation_id}")
    assert page.links(f"/status/events/{event.id}")
    assert "msg_first" in page.text
    assert media.file_path in page.text
    for secret in ("msg_first", media.file_path, "Check the bytes", "Put in the trash"):
        assert secret not in for_field.text
    assert office.get(page.links("/status/events/")[0]).status_code == 200


def test_a_file_that_no_delivery_brought_says_so(office):
    assert "it was found when catching up" in passport(office, keep()).text


def test_a_passport_shows_where_a_file_is_used_shared_and_what_was_done(office):
    maria = factories.customer(name="Maria Alvarez")
    [media] = [keep(message=factories.text(maria))]
    filing.link([media], factories.quote(maria, "Q-7", title="North wall"), None, "East corner")
    db.session.commit()
    office.post(f"/media/{media.id}/caption", data={"caption": "Crack by the window"})
    office.post(f"/media/{media.id}/checks")
    form = {"title": "For the insurer", "lasts": "7", "media": str(media.id)}
    assert office.post("/shares", data=form).status_code == 303

    page = passport(office, media)

    for words in (
        "Maria Alvarez", "Q-7", "“East corner”", "For the insurer", "Revoke",
        "Crack by the window", "Linked : to Q-7", "Checked : The bytes are those that came.",
    ):  # fmt: skip
        assert words in page.text, words
    share = db.session.scalars(sa.select(Share)).one()
    assert page.all("form", action=f"/shares/{share.id}/revocation")


@pytest.mark.parametrize(
    "values",
    [
        {"state": State.PENDING, "downloaded_at": None, "sha256": None, "mime_type": None},
        {"state": State.DOWNLOADING, "downloaded_at": None, "file_size": None},
        {"state": State.NEEDS_ATTENTION, "downloaded_at": None, "problem": NASTY[0]},
        {"state": State.DAMAGED, "problem": findings.PROBLEMS[Finding.DIFFERENT]},
        {"caption": NASTY[2], "file_name": NASTY[1]},
        {"media_type": MediaAttachment.MediaType.DOCUMENT, "mime_type": "application/pdf"},
        {"media_type": MediaAttachment.MediaType.VIDEO, "mime_type": "video/mp4"},
    ],
    ids=lambda values: str(values.get("state", next(iter(values)))),
)
def test_every_file_has_a_passport_whatever_became_of_it(values, office):
    media = keep(**values)

    page = passport(office, media)

    assert page.all("img") == []
    assert [one for one in page.all("script") if not one.get("src")] == []
    if words := values.get("problem") or values.get("caption"):
        assert words in page.text


@BOTH
def test_a_passport_asks_as_many_questions_for_much_as_for_little(office):
    maria = factories.customer()
    little, much = keep(message=factories.text(maria)), keep(message=factories.text(maria))
    for number in range(12):
        filing.link([much], factories.quote(maria, f"Q-{number}"), None)
    db.session.commit()
    for number in range(6):
        office.post("/shares", data={"title": f"{number}", "lasts": "7", "media": str(much.id)})
    few_id, many_id = str(little.id), str(much.id)
    passport(office, few_id)

    with counted() as few:
        passport(office, few_id)
    with counted() as many:
        passport(office, many_id)

    assert len(few) == len(many) <= 16


def test_nobody_has_a_passport(office):
    nobody = "00000000-0000-4000-8000-000000000000"
    assert office.get(f"/media/{nobody}/passport").status_code == 404
    for action in ("caption", "checks", "trash", "restoration"):
        assert office.post(f"/media/{nobody}/{action}").status_code == 404
    assert office.get(f"/trash/{nobody}/thumbnail").status_code == 404


# --- Caption and check -----------------------------------------------------------------------


def test_everybody_may_say_what_a_photo_shows_and_a_caption_too_long_is_not_lost(log_in):
    media, field = keep(), log_in("field")
    long = "x" * 301

    answer = field.post(f"/media/{media.id}/caption", data={"caption": " East  wall "})
    refused = field.post(f"/media/{media.id}/caption", data={"caption": long})

    assert answer.status_code == 303
    assert reread(media).caption == "East wall"
    assert refused.status_code == 422
    [box] = Page(refused.text).all("input", id="caption")
    assert (box["value"], box["aria-invalid"]) == (long, "true")


@BOTH
def test_a_photo_is_found_by_its_caption_while_it_is_not_in_the_trash(office):
    media = keep(message=factories.text(factories.customer(), body="hello"))
    found = []

    for address, form in (
        ("caption", {"caption": "Hairline by the window"}),
        ("trash", {}),
        ("restoration", {}),
        ("caption", {"caption": ""}),
    ):
        office.post(f"/media/{media.id}/{address}", data=form)
        found.append(f"/messages/{media.message_id}" in office.get("/search?q=hairline").text)

    assert found == [True, False, True, False]


@pytest.mark.on_folder("changes the file on its disk")
def test_a_check_from_the_page_says_what_it_found(office):
    media, coming = keep(), keep(state=State.PENDING)
    path = holdings.own().root / media.file_path

    fine = office.post(f"/media/{media.id}/checks", follow_redirects=True)
    path.chmod(0o600)
    path.write_bytes(b"rot")
    bad = office.post(f"/media/{media.id}/checks", follow_redirects=True)
    holdings.own().expect("another store")
    path.unlink()
    away = office.post(f"/media/{media.id}/checks", follow_redirects=True)

    assert "exactly those that came" in fine.text
    assert "marked as damaged" in bad.text
    assert "belongs to another database" in away.text
    assert reread(media).state is State.DAMAGED
    assert office.get(f"/media/{media.id}").status_code == 410
    assert office.post(f"/media/{coming.id}/checks").status_code == 409


# --- The trash -----------------------------------------------------------------------------


def addresses(media: MediaAttachment) -> tuple[str, ...]:
    return tuple(f"/media/{media.id}{end}" for end in ("", "?download=1", "/thumbnail", "/preview"))


def test_what_is_in_the_trash_is_shown_to_the_office_there_and_to_nobody_else(
    log_in, office, anonymous
):
    media = keep(with_copies=True)
    was = stored_bytes(media)
    office.post(f"/media/{media.id}/trash")
    owner, field = log_in("owner"), log_in("field")

    page = Page(office.get("/trash").text)
    [image] = page.all("img")

    for browser in (office, owner, field):
        for address in addresses(media):
            assert browser.get(address).status_code == 404, address
    statuses = {
        name: browser.get(image["src"], headers={"Accept": "*/*"}).status_code
        for name, browser in
        {"office": office, "owner": owner, "field": field, "anonymous": anonymous}.items()
    }  # fmt: skip
    assert statuses == {"office": 200, "owner": 200, "field": 403, "anonymous": 401}
    assert passport(field, media).all("img") == []
    assert "no-store" in office.get(image["src"]).headers["Cache-Control"]
    assert stored_bytes(reread(media)) == was

    office.post(f"/media/{media.id}/restoration")
    assert {field.get(address).status_code for address in addresses(media)} == {200}
    assert office.get(image["src"]).status_code == 404
    assert stored_bytes(reread(media)) == was


def test_where_a_file_is_used_is_said_before_it_is_put_away(office):
    maria = factories.customer()
    media = keep(message=factories.text(maria))
    job = factories.quote(maria, "Q-7")
    filing.link([media], job, None)
    factories.evidence(job, media)
    office.post("/shares", data={"title": "For her", "lasts": "7", "media": str(media.id)})

    asked = office.post(f"/media/{media.id}/trash")
    before = reread(media).state
    sure = office.post(f"/media/{media.id}/trash", data={"sure": "1"})

    assert asked.status_code == 200
    for words in ("Linked to Q-7", "Evidence of Q-7", "Shared as “For her”"):
        assert words in Page(asked.text).text
    assert before is State.STORED
    assert sure.status_code == 303
    assert reread(media).state is State.TRASHED
    assert "stays here while linked to Q-7" in Page(office.get("/trash").text).text


def test_what_is_on_its_way_cannot_be_put_away_and_that_is_said(office):
    media = keep(state=State.DOWNLOADING)

    answer = office.post(f"/media/{media.id}/trash", follow_redirects=True)

    assert "Wait until it is here" in answer.text
    assert reread(media).state is State.DOWNLOADING


@pytest.mark.parametrize("role", ["field", "office"])
def test_only_the_owner_deletes_for_good(role, log_in):
    media = keep(state=State.TRASHED, trashed_at=now() - timedelta(days=40), trashed_by="x@y")
    browser = log_in(role)

    answer = browser.post("/trash/purges", data={"sure": "1"})

    assert answer.status_code == 403
    assert reread(media).purged_at is None


def test_the_owner_deletes_for_good_what_is_old_enough_and_only_when_sure(client):
    old = keep(state=State.TRASHED, trashed_at=now() - timedelta(days=40), trashed_by="x@y")
    young = keep(state=State.TRASHED, trashed_at=now() - timedelta(days=4), trashed_by="x@y")

    before = Page(client.get("/trash").text)
    unsure = client.post("/trash/purges", follow_redirects=True)
    too_early = client.post(
        "/trash/purges", data={"sure": "1", "media": str(young.id)}, follow_redirects=True
    )
    sure = client.post("/trash/purges", data={"sure": "1"}, follow_redirects=True)
    gone = Page(client.get("/trash?show=deleted").text)

    assert "Delete 1 for good" in before.text
    assert "say that you are sure" in unsure.text
    assert "Nothing was deleted" in too_early.text
    assert "1 file deleted for good" in sure.text
    assert reread(old).purged_at is not None
    assert reread(young).purged_at is None
    assert old.sha256 in gone.text
    assert "Deleted for good" in passport(client, old).text
    assert client.get(f"/trash/{old.id}/thumbnail").status_code == 404
    entry = db.session.scalars(sa.select(AuditEntry).filter_by(action="purge")).one()
    assert entry.who == "owner@crack.example"


@BOTH
def test_the_trash_pages_without_gap_or_repeat(office, monkeypatch):
    monkeypatch.setattr("viewer.web.media.trash.PAGE", 2)
    message, moment = factories.text(factories.customer()), now()
    rows = factories.files(message, 5, state=State.TRASHED, trashed_at=moment, trashed_by="x@y")

    seen, address = [], "/trash"
    while address:
        page = Page(office.get(address).text)
        seen += [link.split("/")[2] for link in page.links("/passport")]
        older = page.links("before=")
        address = older[0] if older else ""

    assert sorted(seen) == sorted(str(row.id) for row in rows)
    assert len(seen) == 5
    assert office.get("/trash?before=x").status_code == 400
    assert office.get("/trash?show=nonsense").status_code == 404


def test_a_trashed_file_leaves_the_conversation_and_the_gallery_and_comes_back(office):
    maria = factories.customer()
    media = keep(message=factories.text(maria), with_copies=True)
    places = (f"/conversations/{maria.id}", "/photos", "/unfiled")

    def shown() -> list[bool]:
        return [str(media.id) in office.get(place).text for place in places]

    before = shown()
    office.post(f"/media/{media.id}/trash")
    while_away = shown()
    office.post(f"/media/{media.id}/restoration")

    assert (before, while_away, shown()) == ([True] * 3, [False] * 3, [True] * 3)


def test_everything_done_to_a_file_is_on_the_trail_with_its_name(office):
    media = keep(picture(colour="teal"))
    office.post(f"/media/{media.id}/caption", data={"caption": "East wall"})
    office.post(f"/media/{media.id}/checks")
    office.post(f"/media/{media.id}/trash")
    office.post(f"/media/{media.id}/restoration")

    trail = db.session.execute(
        sa.select(AuditEntry.action, AuditEntry.who, AuditEntry.subject_type)
        .filter_by(subject_id=media.id)
        .order_by(AuditEntry.id)
    ).all()

    assert [tuple(line) for line in trail] == [
        (action, "office@crack.example", "media")
        for action in ("caption", "check", "trash", "restore")
    ]
