"""A damaged original comes back from where its right bytes are; the wrong ones are kept."""

import hashlib
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.children import in_child
from tests.support.damage import harm
from tests.support.pictures import picture
from tests.support.stored_files import keep, other_store, place, row
from viewer import failpoint, holdings
from viewer.demo.rest import Workspace
from viewer.extensions import db
from viewer.models import AuditEntry, MediaAttachment
from viewer.upkeep import identity

State = MediaAttachment.State

CONTENT = picture(width=240)


@pytest.fixture
def photo(app, provider) -> MediaAttachment:
    """An original that the provider still has."""
    return keep(CONTENT, openphone_url=provider.serve(CONTENT))


def lies(root: Path, media: MediaAttachment) -> bytes:
    return (root / media.file_path).read_bytes()


def kept_wrong(root: Path) -> list[bytes]:
    folder = root / "quarantine" / "damaged"
    return [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()]


@pytest.mark.parametrize("how", ["flipped", "cut", "missing", "symlink", "pipe"])
def test_it_is_downloaded_again_and_the_wrong_bytes_are_kept(how, photo, check, root):
    harm(root / photo.file_path, how)
    wrong = lies(root, photo) if how in ("flipped", "cut") else None

    result = check()

    assert (len(result.bad), result.repaired, result.damaged) == (1, 1, 0)
    kept = row(photo.id)
    assert (kept.state, kept.problem) == (State.STORED, None)
    path = root / photo.file_path
    assert (lies(root, photo), path.is_symlink()) == (CONTENT, False)
    assert path.stat().st_mode & 0o777 == 0o444
    if wrong is not None:
        assert kept_wrong(root) == [wrong]
    noted = db.session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id)).all()
    assert [entry.action for entry in noted] == ["damage", "repair"]
    assert noted[1].words == "Its bytes were downloaded from the phone provider again."
    assert check().bad == []


def test_it_comes_from_the_store_it_was_in_before(app, provider, check, root, tmp_path):
    before = other_store(tmp_path / "before")
    photo = keep(CONTENT, former_storage=before.id)
    place(CONTENT, photo.file_path, holdings.spool(), holdings.store(before.id))
    harm(root / photo.file_path, "flipped")

    assert check().repaired == 1
    assert lies(root, photo) == CONTENT
    assert (tmp_path / "before" / photo.file_path).read_bytes() == CONTENT


def test_k32_a_source_with_other_bytes_repairs_nothing(app, provider, check, root):
    photo = keep(CONTENT, openphone_url=provider.serve(CONTENT[:-1] + b"x"))
    harm(root / photo.file_path, "flipped")
    wrong = lies(root, photo)

    result = check()

    assert (result.repaired, result.damaged) == (0, 1)
    assert row(photo.id).state is State.DAMAGED
    assert lies(root, photo) == wrong  # where it was: nothing better has come
    assert not (root / "quarantine").exists()
    assert list((root / ".incoming").iterdir()) == []


def test_a_fresh_address_is_asked_for(settings, provider, request, message):
    workspace = Workspace(key="test-key-1", rate=10_000)
    settings |= {"QUO_API_KEY": "test-key-1", "QUO_API_URL": workspace.mount(provider)}
    app = request.getfixturevalue("app")
    check = request.getfixturevalue("check")
    root = app.config["SETTINGS"].media_root
    photo = keep(CONTENT, openphone_url=provider.serve(b"", status=403))
    text = photo.message
    workspace.messages[text.provider_id] = {
        "id": text.provider_id,
        "from": "+16175550123",
        "to": ["+16175550100"],
        "text": "",
        "media": [{"url": provider.serve(CONTENT), "type": "image/jpeg"}],
        "direction": "incoming",
        "status": "received",
        "conversationId": "CNtest1",
        "phoneNumberId": "PNdemo1",
        "createdAt": text.sent_at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
    }
    harm(root / photo.file_path, "missing")

    assert check().repaired == 1
    assert lies(root, photo) == CONTENT


def test_bytes_that_a_person_put_back_are_recognised(app, check, root):
    photo = keep(CONTENT)
    harm(root / photo.file_path, "flipped")
    assert check().damaged == 1
    (root / photo.file_path).write_bytes(CONTENT)

    result = check()

    assert (result.repaired, row(photo.id).state) == (1, State.STORED)


def test_one_that_cannot_be_repaired_holds_up_no_other(app, provider, check, root):
    """A folder lies under its name: nobody may move that away unasked."""
    stuck, photo = (keep(CONTENT, openphone_url=provider.serve(CONTENT)) for _ in range(2))
    harm(root / stuck.file_path, "folder")
    harm(root / photo.file_path, "flipped")

    result = check()

    assert (result.repaired, result.damaged, result.problem) == (1, 1, None)
    assert lies(root, photo) == CONTENT


PLACES = (
    "verify.marked", "repair.fetched", "storage.moving", "repair.moved", "storage.folders",
    "storage.linked", "storage.placed", "repair.placed", "repair.noted",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_repair_that_is_killed_is_done_by_the_next_run(place, photo, check, root, monkeypatch):
    harm(root / photo.file_path, "flipped")
    wrong = lies(root, photo)
    monkeypatch.setenv(failpoint.VARIABLE, f"{place}=kill")
    in_child(check, expected=-9)
    monkeypatch.delenv(failpoint.VARIABLE)
    state = row(photo.id).state
    assert state is (State.STORED if place == "repair.noted" else State.DAMAGED)

    identity.ensure()
    check()

    assert (row(photo.id).state, lies(root, photo)) == (State.STORED, CONTENT)
    assert hashlib.sha256(lies(root, photo)).hexdigest() == photo.sha256
    assert kept_wrong(root) == [wrong]
    holdings.spool().tidy(older_than=-1)
    assert list((root / ".incoming").iterdir()) == []
