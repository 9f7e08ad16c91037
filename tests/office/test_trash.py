"""Files are put away, brought back and given up without ever losing what somebody needs."""

import hashlib
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from click.testing import CliRunner

from tests.conftest import BOTH
from tests.support import factories, homes, samples
from tests.support.crowds import run_all
from tests.support.pictures import picture
from tests.support.stored_files import keep, place, stored_bytes
from viewer import commands, holdings
from viewer.extensions import db, now
from viewer.holdings import Finding
from viewer.models import (
    AuditEntry,
    MediaAttachment,
    MediaLink,
    Message,
    RegisteredStore,
    User,
)
from viewer.office import accounts, filing, findings, sharing, trash
from viewer.search import query
from viewer.storage import Missing, Unavailable, keys
from viewer.upkeep import identity

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState


@pytest.fixture
def anna(app: Any) -> User:
    user = accounts.add("anna@crack.example", User.Role.OWNER, "Anna")
    db.session.commit()
    return user


@pytest.fixture
def trashed(anna: User) -> Any:
    """A file that was put in the trash so many days ago."""

    def put(days: float = 0, **values: Any) -> MediaAttachment:
        media = keep(**values)
        trash.trash(media, anna)
        media.trashed_at = now() - timedelta(days=days)
        db.session.commit()
        return media

    return put


def fresh(media: MediaAttachment) -> MediaAttachment:
    db.session.rollback()
    db.session.expire_all()
    return db.session.get_one(MediaAttachment, media.id)


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lies(key: str) -> bool:
    try:
        homes.own().stat(key)
    except Missing:
        return False
    return True


# --- Trash ---------------------------------------------------------------------------------


@BOTH
def test_what_is_restored_is_as_it_was(anna):
    media, job = keep(caption="East wall"), factories.quote(factories.customer())
    filing.link([media], job, anna)
    lost = keep(state=State.NEEDS_ATTENTION, downloaded_at=None, problem="It answered 404.")
    db.session.commit()
    before = [
        (one.state, one.problem, one.is_unfiled, one.caption, stored_bytes(one))
        for one in (media, lost)
    ]

    for one in (media, lost):
        trash.trash(one, anna)
        db.session.commit()
        assert fresh(one).state is State.TRASHED
        trash.restore(one, anna)
        db.session.commit()

    after = [
        (one.state, one.problem, one.is_unfiled, one.caption, stored_bytes(one))
        for one in (fresh(media), fresh(lost))
    ]
    assert after == before
    assert [use.record_id for use in filing.links_from(media)] == [job.id]
    assert (media.trashed_at, media.trashed_by) == (None, None)


@pytest.mark.parametrize("state", [State.PENDING, State.DOWNLOADING, State.DAMAGED])
def test_what_is_on_its_way_or_damaged_is_not_put_away(state, anna):
    media = keep(state=state)

    with pytest.raises(trash.Refused):
        trash.trash(media, anna)

    assert fresh(media).state is state


@BOTH
def test_putting_away_and_restoring_twice_is_once(anna):
    media = keep()
    for change in (trash.trash, trash.trash, trash.restore, trash.restore):
        change(media, anna)
        db.session.commit()

    actions = db.session.scalars(
        sa.select(AuditEntry.action).filter_by(subject_id=media.id).order_by(AuditEntry.id)
    ).all()
    assert actions == ["trash", "restore"]


@pytest.mark.on_sqlite("reads SQLite's query plans")
def test_the_trash_is_listed_by_its_index(app):
    asked: list[Any] = []
    sa.event.listen(db.session, "do_orm_execute", lambda found: asked.append(found.statement))
    trash.in_trash(40, None, purged=False)
    trash.in_trash(40, None, purged=True)
    trash.purgeable()

    for statement in asked[:3]:
        words = statement.compile(db.engine, compile_kwargs={"literal_binds": True})
        rows = db.session.execute(sa.text(f"EXPLAIN QUERY PLAN {words}")).all()
        plan = " ".join(row[3] for row in rows)
        assert "ix_media_attachments_trash" in plan
        assert "TEMP B-TREE" not in plan


# --- Purge ---------------------------------------------------------------------------------


@BOTH
def test_only_what_is_old_enough_unlinked_and_no_evidence_is_given_up(anna, trashed):
    maria = factories.customer()
    job = factories.quote(maria)
    old, young, linked, evidence = trashed(35.01), trashed(34.99), trashed(90), trashed(90)
    restored, here = trashed(90), keep()
    db.session.add(MediaLink(media_id=linked.id, record_id=job.id))
    factories.evidence(job, evidence)
    trash.restore(restored, anna)
    db.session.commit()
    everything = [old, young, linked, evidence, restored, here]
    before = {one.id: stored_bytes(one) for one in everything}

    named = trash.purgeable()
    db.session.commit()
    count = trash.purge([one.id for one in everything], anna)

    assert named == [old.id]
    assert count == 1
    gone = fresh(old)
    assert gone.purged_at is not None
    assert not lies(gone.file_path)
    for one in everything[1:]:
        assert fresh(one).purged_at is None
        assert stored_bytes(one) == before[one.id]


@pytest.mark.parametrize(
    ("content", "made"),
    [
        (picture(colour="teal"), {"thumbnail", "preview"}),
        (
            samples.packed(samples.corner_picture(2400, 1600), "HEIF"),
            {"thumbnail", "preview", "full"},
        ),
    ],
    ids=["JPEG", "HEIC"],
)
@pytest.mark.on_folder("looks into the folder's quarantine")
def test_what_is_given_up_leaves_its_hash_and_its_bytes_in_quarantine(content, made, anna, trashed):
    media = trashed(40, content=content, with_copies=True)
    assert set(media.copies) == made
    copies = list(media.copies.values())
    clean = sharing.clean_copy(media)
    was = stored_bytes(media)

    trash.purge([media.id], anna)

    gone = fresh(media)
    path = holdings.own().root / trash.quarantine_key(gone)
    assert (hash_of(path), path.stat().st_mtime_ns, path.stat().st_mode) == was
    assert (gone.state, gone.sha256) == (State.TRASHED, was[0])
    assert [key for key in [gone.file_path, clean.key, *copies] if lies(key)] == []
    assert (gone.copies, gone.placeholder, gone.peaks) == ({}, None, None)
    assert gone.quarantined_at is not None
    with pytest.raises(trash.Refused):
        trash.restore(gone, anna)
    entry = db.session.scalars(sa.select(AuditEntry).filter_by(action="purge")).one()
    assert (entry.who, entry.words) == ("anna@crack.example", f"SHA-256 {was[0]}")


def test_what_was_restored_while_the_list_was_read_stays(anna, trashed):
    media = trashed(40)
    named = trash.purgeable()
    trash.restore(media, anna)
    db.session.commit()

    count = trash.purge(named, anna)

    assert count == 0
    assert fresh(media).is_stored
    assert lies(media.file_path)


@BOTH
def test_restoring_and_giving_up_at_once_never_leaves_a_row_without_bytes(app, anna, trashed):
    files = [trashed(40) for _ in range(4)]
    ids, user_id = [one.id for one in files], anna.id
    db.session.commit()
    start, trouble = threading.Barrier(2), []

    def restore() -> None:
        with app.app_context():
            user = db.session.get_one(User, user_id)
            start.wait(60)
            for media_id in reversed(ids):
                try:
                    trash.restore(db.session.get_one(MediaAttachment, media_id), user)
                    db.session.commit()
                except trash.Refused:
                    db.session.rollback()

    def purge() -> None:
        with app.app_context():
            start.wait(60)
            try:
                trash.purge(ids, None)
            except Exception as error:  # noqa: BLE001 - told by the test
                trouble.append(error)

    threads = [threading.Thread(target=one) for one in (restore, purge)]
    db.session.commit()
    run_all(threads)

    assert trouble == []
    for one in files:
        row = fresh(one)
        assert row.is_stored is (row.purged_at is None)
        assert lies(row.file_path) is row.is_stored
        assert lies(trash.quarantine_key(row)) is not row.is_stored


@pytest.mark.parametrize("where", ["purge.given_up", "storage.moving"])
@pytest.mark.on_folder("looks into the folder's quarantine")
def test_a_purge_that_died_is_finished_by_the_next(where, anna, trashed, monkeypatch):
    media = trashed(40)
    was = stored_bytes(media)

    class Died(BaseException):
        pass

    def die(name: str) -> None:
        if name == where:
            raise Died

    monkeypatch.setattr(f"viewer.{'office.trash' if 'purge' in where else 'storage.folder'}"
                        ".failpoint", die)  # fmt: skip
    with pytest.raises(Died):
        trash.purge([media.id], anna)
    half = fresh(media)
    died_at = half.purged_at, half.quarantined_at
    with pytest.raises(trash.Refused):
        trash.restore(half, anna)  # in whichever moment it died
    db.session.rollback()
    monkeypatch.undo()
    trash.purge([], anna)

    path = holdings.own().root / trash.quarantine_key(media)
    assert died_at[0] is not None
    assert died_at[1] is None
    assert fresh(media).quarantined_at is not None
    assert (hash_of(path), path.stat().st_mtime_ns, path.stat().st_mode) == was
    assert not lies(media.file_path)


def test_without_its_disk_nothing_is_given_up_half(anna, trashed):
    media = trashed(40)
    holdings.own().expect("another store")

    with pytest.raises(Unavailable):
        trash.purge([media.id], anna)

    assert fresh(media).quarantined_at is None
    identity.ensure()
    trash.purge([], anna)
    assert fresh(media).quarantined_at is not None
    assert lies(trash.quarantine_key(media))


def test_a_file_that_is_being_read_is_read_to_its_end_although_it_is_given_up(anna, trashed):
    content = picture(colour="teal")
    media = trashed(40, content=content)

    with homes.own().open(media.file_path) as file:
        first = file.read(100)
        trash.purge([media.id], anna)
        rest = file.read()

    assert first + rest == content


def test_what_was_given_up_is_not_worked_on_any_more(anna, trashed):
    media = trashed(40, copy_state=CopyState.DUE, copy_due_at=now())

    trash.purge([media.id], anna)

    row = fresh(media)
    assert (row.copy_state, row.copy_due_at) == (CopyState.IMPOSSIBLE, None)


def test_a_file_that_never_came_leaves_nothing_but_its_row(anna, trashed):
    media = trashed(40, state=State.NEEDS_ATTENTION, downloaded_at=None, sha256=None)

    assert trash.purge([media.id], anna) == 1

    assert fresh(media).quarantined_at is not None
    assert not lies(trash.quarantine_key(media))


def test_bytes_in_another_hosts_folder_are_left_to_it(anna, trashed):
    theirs = RegisteredStore(host="elsewhere", address="folder:/srv/media")
    db.session.add(theirs)
    db.session.flush()
    media = trashed(40, storage=theirs.id)

    assert trash.purge([media.id], anna) == 1

    assert fresh(media).purged_at is not None
    assert fresh(media).quarantined_at is None


@pytest.mark.on_folder("looks for copies that each host has in its folder")
def test_each_host_forgets_its_clean_copies_of_what_another_purged(anna, trashed):
    gone, kept = trashed(40), trashed(4)
    current = [keys.shared(one.id, one.sha256 or "", "whole", "jpg") for one in (gone, kept)]
    earlier = current[1].replace("shared/", "shared/0", 1)
    for key in (*current, earlier):
        place(b"clean", key, holdings.spool(), holdings.own())
    gone.purged_at = now()
    db.session.commit()

    assert sharing.tidy() == 2

    assert [lies(key) for key in (*current, earlier)] == [False, True, False]
    assert sharing.tidy() == 0


def test_the_command_says_how_many_and_deletes_only_when_told_to(
    settings, monkeypatch, anna, trashed
):
    identity.ensure()
    old, young = trashed(40), trashed(4)
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))

    def say(*words: str) -> str:
        db.session.commit()
        return CliRunner().invoke(commands.viewer, words, catch_exceptions=False).output

    asked, still = say("purge"), fresh(old).purged_at
    done = say("purge", "--yes")

    assert asked == "1 could be deleted for good: say --yes\n"
    assert still is None
    assert done == "1 deleted for good; their bytes are in quarantine\n"
    assert fresh(old).quarantined_at is not None
    assert fresh(young).purged_at is None
    entry = db.session.scalars(sa.select(AuditEntry).filter_by(action="purge")).one()
    assert entry.who == "system"


# --- Checks --------------------------------------------------------------------------------


def spoil(media: MediaAttachment, content: bytes | None) -> None:
    path = holdings.own().root / media.file_path
    path.chmod(0o600)
    path.unlink() if content is None else path.write_bytes(content)


@BOTH
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (picture(), None),
        (b"rot", findings.PROBLEMS[Finding.DIFFERENT]),
        (None, findings.PROBLEMS[Finding.MISSING]),
    ],
)
@pytest.mark.on_folder("changes the file on its disk")
def test_a_check_tells_and_marks_and_takes_it_back(content, problem, anna):
    media = keep(picture())
    spoil(media, content)

    findings.note_finding(media, holdings.check_file(media))
    db.session.commit()
    row = fresh(media)
    found = row.state, row.problem
    spoil(media, b"") if content is not None else None
    (holdings.own().root / media.file_path).write_bytes(picture())
    findings.note_finding(row, holdings.check_file(row))
    db.session.commit()

    assert found == ((State.STORED, None) if problem is None else (State.DAMAGED, problem))
    assert (fresh(media).state, fresh(media).problem) == (State.STORED, None)


@pytest.mark.on_folder("changes the file on its disk")
def test_a_check_of_what_was_put_away_meanwhile_marks_nothing(anna):
    media = keep()
    spoil(media, b"rot")
    finding = holdings.check_file(media)
    trash.trash(media, anna)
    db.session.commit()

    findings.note_finding(media, finding)
    db.session.commit()

    assert fresh(media).state is State.TRASHED


# --- Captions ------------------------------------------------------------------------------


def test_a_caption_is_one_line_and_its_changes_are_told(anna):
    media = keep()

    for words in ("  East\n wall ", "East wall", "", "x" * 300):
        trash.set_caption(media, words)
    with pytest.raises(trash.Refused):
        trash.set_caption(media, "x" * 301)
    db.session.commit()

    told = db.session.scalars(sa.select(AuditEntry.words).filter_by(action="caption")).all()
    assert told == ["East wall", "taken away", "x" * 300]
    assert fresh(media).caption == "x" * 300


@BOTH
def test_the_search_follows_a_caption_its_trash_and_its_restoration(anna):
    media = keep()
    found = []

    for change in (
        lambda: trash.set_caption(media, "East wall"),
        lambda: trash.trash(media, anna),
        lambda: trash.restore(media, anna),
        lambda: trash.set_caption(media, ""),
    ):
        change()
        db.session.commit()
        found.append(query.search(query.read_terms("east wall"), limit=9) != [])

    assert found == [True, False, True, False]


@BOTH
def test_a_caption_does_not_undo_what_ingest_just_told_the_search(anna):
    media = keep()
    assert media.message.body != "A new leak"
    with db.engine.connect() as ingest:  # as it commits while the page holds the older row
        if db.engine.dialect.name == "sqlite":
            db.session.rollback()
        ingest.execute(sa.update(Message).values(body="A new leak"))
        ingest.commit()

    trash.set_caption(media, "East wall")
    db.session.commit()

    assert query.search(query.read_terms("leak wall"), limit=9) != []


def test_originals_are_the_same_bytes_after_everything(anna):
    media = keep(with_copies=True)
    was = stored_bytes(media)

    trash.set_caption(media, "East wall")
    findings.note_finding(media, holdings.check_file(media))
    sharing.clean_copy(media)
    with time_machine.travel(now() + timedelta(days=1)):
        trash.trash(media, anna)
        trash.restore(media, anna)
    db.session.commit()

    assert stored_bytes(fresh(media)) == was
