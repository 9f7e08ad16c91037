"""A damaged original is never served as good, its row says so at once, and its picture stays."""

import io
import zipfile
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support import homes, samples
from tests.support.pages import Page
from tests.support.pictures import noise
from tests.support.stored_files import harm_original, keep, row
from viewer.extensions import db
from viewer.models import AuditEntry, MediaAttachment
from viewer.office import findings
from viewer.storage import Missing

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState

PROBLEM = "The bytes in the store are not those that came."


@pytest.fixture
def client(log_in) -> Any:
    return log_in("office")


@pytest.fixture
def photo(app) -> MediaAttachment:
    return keep(noise(900, 700, 40), with_copies=True)


@pytest.fixture
def cut(photo) -> MediaAttachment:
    """A photo whose original lost its last byte on the disk."""
    harm_original(photo, "cut")
    return photo


def test_the_first_request_marks_it_and_no_byte_of_it_is_served(cut, client):
    first = client.get(f"/media/{cut.id}")
    part = client.get(f"/media/{cut.id}", headers={"Range": "bytes=0-99"})

    assert (first.status_code, part.status_code) == (410, 410)
    assert first.text == f"The original is damaged. {PROBLEM}\n"
    assert "immutable" not in first.headers.get("Cache-Control", "")
    assert "ETag" not in first.headers
    kept = row(cut.id)
    assert (kept.state, kept.problem) == (State.DAMAGED, PROBLEM)
    noted = db.session.scalars(sa.select(AuditEntry).filter_by(action="damage")).all()
    assert [entry.subject_id for entry in noted] == [cut.id]


def test_a_repair_that_ended_before_the_damage_was_recorded_is_seen(photo):
    findings.meet(photo, Missing("it was not there when the page was asked for"))

    kept = row(photo.id)
    assert (kept.state, kept.problem) == (State.STORED, None)
    noted = db.session.scalars(sa.select(AuditEntry.action).order_by(AuditEntry.at)).all()
    assert [action for action in noted if action in ("damage", "repair")] == ["damage", "repair"]


def test_a_range_alone_finds_it_too(cut, client):
    assert client.get(f"/media/{cut.id}", headers={"Range": "bytes=5-9"}).status_code == 410
    assert row(cut.id).state is State.DAMAGED


def test_its_intact_pictures_are_still_shown_and_marked(cut, client):
    client.get(f"/media/{cut.id}")

    thumbnail = client.get(f"/media/{cut.id}/thumbnail")
    preview = client.get(f"/media/{cut.id}/preview")
    assert (thumbnail.status_code, thumbnail.mimetype) == (200, "image/jpeg")
    assert (preview.status_code, preview.mimetype) == (200, "image/jpeg")
    conversation = f"/conversations/{cut.conversation_id}"
    for address in (conversation, "/photos", f"/media/{cut.id}/passport"):
        page = Page(client.get(address).text)
        assert "Original damaged" in page.text
        assert "not here yet" not in page.text
        pictures = [image["src"] for image in page.all("img") if image.get("src")]
        assert f"/media/{cut.id}/thumbnail" in pictures
        assert f"/media/{cut.id}" not in page.links("/media/")
    slides = client.get(f"{conversation}/slides").json["slides"]
    assert [slide["problem"] for slide in slides] == [f"Original damaged. {PROBLEM}"]
    assert [slide["download_url"] for slide in slides] == [None]


def test_behind_the_thumbnail_of_a_small_photo_is_no_damaged_original(cut, client):
    cut.preview_path = None
    db.session.commit()
    client.get(f"/media/{cut.id}")

    for address in (
        f"/conversations/{cut.conversation_id}",
        "/photos",
        f"/media/{cut.id}/passport",
    ):
        links = Page(client.get(address).text).links("/media/")
        assert f"/media/{cut.id}/thumbnail" in links
        assert f"/media/{cut.id}" not in links


def test_an_archive_leaves_it_out_says_so_and_marks_it(cut, client):
    whole = keep(noise(100, 80, 40))
    answer = client.post("/photos/zip", data={"media": [str(cut.id), str(whole.id)]})

    with zipfile.ZipFile(io.BytesIO(answer.data)) as found:
        assert b"it is damaged in the store" in found.read("MISSING.txt")
        assert sum(name.endswith(".jpg") for name in found.namelist()) == 1
    assert row(cut.id).state is State.DAMAGED


def test_the_health_check_says_it_at_once(cut, client):
    client.get(f"/media/{cut.id}")

    found = client.get("/healthz")
    assert found.status_code == 503
    words = {alarm["name"]: alarm["words"] for alarm in found.json["broken"]}
    assert words["media_damaged"] == "1 original damaged in the store, and not repaired yet."


@pytest.mark.parametrize("copy", ["thumbnail", "preview"])
def test_a_copy_that_is_gone_is_made_again(copy, photo, client, work):
    key = photo.copies[copy]
    homes.own().remove(key)

    first = client.get(f"/media/{photo.id}/{copy}")
    assert (first.status_code, row(photo.id).copy_state) == (425, CopyState.DUE)
    work()
    assert client.get(f"/media/{photo.id}/{copy}").status_code == 200
    assert row(photo.id).state is State.STORED


def test_a_copy_of_a_damaged_original_that_is_gone_says_so(cut, client):
    client.get(f"/media/{cut.id}")
    homes.own().remove(cut.copies["thumbnail"])

    assert client.get(f"/media/{cut.id}/thumbnail").status_code == 410


def test_a_voicemail_whose_original_is_damaged_is_still_heard(client, tmp_path):
    sound = samples.sound(tmp_path / "said.amr", "libopencore_amrnb", "amr", rate=8000)
    media = keep(sound.read_bytes(), with_copies=True, role=MediaAttachment.Role.VOICEMAIL)
    harm_original(media, "cut")
    client.get(f"/media/{media.id}")

    page = Page(client.get(f"/conversations/{media.conversation_id}").text)
    assert row(media.id).state is State.DAMAGED
    assert [audio["src"] for audio in page.all("audio")] == [f"/media/{media.id}/playable"]
    assert "Original damaged" in page.text
    assert not page.links(f"/media/{media.id}?download")
    assert client.get(f"/media/{media.id}/playable").status_code == 200
