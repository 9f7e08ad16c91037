"""A whole viewer comes back onto an empty machine, from the target and the secrets alone."""

import hashlib
import json
import shutil
import uuid
from datetime import timedelta
from functools import partial

import flask_migrate
import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.payloads import signed
from tests.support import stored_files
from tests.support.children import in_child
from tests.support.factories import customer, files, text
from tests.support.pictures import noise
from tests.support.webhooks import SECRET
from tests.upkeep.backup.conftest import hash_of, newest, overwrite
from tests.upkeep.restore.conftest import (
    alter_facts,
    copy_database_into,
    describe_database,
    tree,
)
from viewer import create_app, failpoint, holdings, jobs, storage
from viewer.extensions import db, now
from viewer.intake import sweep
from viewer.models import (
    AuditEntry,
    MediaAttachment,
    RegisteredStore,
    ScheduledTask,
    UpkeepRun,
    User,
    UserSession,
    WebhookEvent,
)
from viewer.office import accounts, audit, findings
from viewer.upkeep import identity, runs
from viewer.upkeep.backup import snapshots
from viewer.upkeep.backup.targets import target as targets
from viewer.upkeep.backup.targets.target import LostTarget
from viewer.upkeep.identity import WrongStore
from viewer.upkeep.restore import journal
from viewer.upkeep.restore.checks import CannotRestore
from viewer.upkeep.restore.run import Wish

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState


def restores() -> list[UpkeepRun]:
    """The records of this database."""
    found = db.session.scalars(sa.select(UpkeepRun).filter_by(kind=runs.Kind.RESTORE)).all()
    db.session.commit()
    return list(found)


@BOTH
def test_k51_everything_is_there_again_from_the_target_and_the_secrets_alone(
    keep, back_up, machine, tmp_path
):
    kept = [keep(f"photo {number}".encode()) for number in range(5)]
    kept.append(keep(b"put away", state=State.TRASHED))
    assert back_up().is_good
    shutil.rmtree(tmp_path / "photos")

    result = machine.restore()

    assert (result.is_whole, result.files, result.right, result.restored) == (True, 6, 6, 6)
    assert result.size == sum(one.file_size for one in kept)
    assert result.seconds > 0
    assert machine.wrong() == []
    assert {one.id: (one.state, one.sha256) for one in machine.rows()} == {
        one.id: (one.state, one.sha256) for one in kept
    }
    assert not journal.exists(machine.root)
    assert list((machine.root / ".incoming").iterdir()) == []
    with machine.opened():
        [run] = restores()
    assert (run.subject, run.outcome, run.snapshot) == (f"folder:{machine.source}", "good", 1)
    assert run.counts.items() >= {"files": 6, "right": 6, "bytes": result.size}.items()


def test_the_next_backup_goes_on_in_the_same_target(keep, back_up, machine, place):
    keep()
    back_up()
    machine.restore()

    with machine.opened():
        stored_files.keep(b"came after the restore")
        result = back_up()

    assert (result.is_good, result.snapshot, result.counts["copied"]) == (True, 2, 1)


def test_thumbnails_come_along_and_missing_ones_are_made_again_newest_first(
    app, back_up, machine, place
):
    kept = []
    for number in range(3):
        message = text(customer(f"+1617555010{number}"), at=now() - timedelta(days=number))
        kept.append(
            stored_files.keep(
                noise(90 + number, 60, number), message, with_copies=True, sent_at=message.sent_at
            )
        )  # fmt: skip
    back_up()
    for media in kept[1:]:
        (place / "media" / media.thumbnail_path).unlink()

    result = machine.restore()

    assert (result.is_whole, result.without_derivatives) == (True, 2)
    rows = {one.id: one for one in machine.rows()}
    assert hash_of(machine.root / kept[0].thumbnail_path) == hash_of(
        app.config["SETTINGS"].media_root / kept[0].thumbnail_path
    )
    assert [rows[one.id].copy_state for one in kept] == [
        CopyState.MADE, CopyState.DUE, CopyState.DUE,
    ]  # fmt: skip
    with machine.opened():
        due = sweep.due().copies
        db.session.rollback()
        assert due == [kept[1].id, kept[2].id]
        for one in due:
            jobs.derive_media(str(one))
        db.session.rollback()
    assert all((machine.root / one.thumbnail_path).is_file() for one in kept)


# --- Killed ---------------------------------------------------------------------------------

SQLITE = (
    "restore.noted", "storage.marking", "restore.marked", "restore.copied", "restore.migrated",
    "restore.taken_over", "restore.sealed", "storage.linked", "restore.placed@2", "restore.filled",
    "restore.adjusted", "restore.recorded", "restore.publishing", "restore.published",
)  # fmt: skip
POSTGRESQL = (
    "restore.noted", "restore.marked", "restore.copied", "restore.loaded", "restore.migrated",
    "restore.taken_over", "restore.placed@2", "restore.filled", "restore.adjusted",
    "restore.recorded", "restore.published",
)  # fmt: skip


@pytest.mark.proof
@pytest.mark.parametrize(
    ("database", "step"),
    [*(("sqlite", step) for step in SQLITE), *(("postgresql", step) for step in POSTGRESQL)],
    indirect=["database"],
)
def test_k52_killed_at_any_step_it_goes_on_when_it_is_run_again(
    step, keep, back_up, machine, monkeypatch
):
    kept = [keep(f"photo {number}".encode()) for number in range(3)]
    back_up()
    monkeypatch.setenv(failpoint.VARIABLE, f"{step}=kill")
    in_child(machine.restore, expected=-9)
    monkeypatch.delenv(failpoint.VARIABLE)

    with pytest.raises(WrongStore, match="has not ended"), machine.opened():
        pass  # no viewer starts on half of it
    result = machine.restore()

    assert (result.is_whole, result.files, machine.wrong()) == (True, 3, [])
    assert machine.said == ["Going on with the restore of snapshot 1."]
    assert len(machine.rows()) == len(kept)
    assert list((machine.root / ".incoming").iterdir()) == []
    with machine.opened():
        assert [run.outcome for run in restores() if run.ended_at] == ["good"]
    data = machine.settings["DATA_DIR"]
    assert [path.name for path in data.iterdir() if "restoring" in path.name] == []


def test_a_note_that_was_never_whole_is_no_reason_to_refuse(keep, back_up, machine):
    keep()
    back_up()
    machine.root.mkdir(parents=True)
    (machine.root / ".viewer-restore.new").write_text("{")

    assert machine.restore().is_whole


def test_another_snapshot_is_not_mixed_into_one_that_was_begun(keep, back_up, machine, monkeypatch):
    keep()
    back_up()
    keep(b"later")
    back_up()
    monkeypatch.setenv(failpoint.VARIABLE, "restore.placed=kill")
    in_child(partial(machine.restore, 1), expected=-9)
    monkeypatch.delenv(failpoint.VARIABLE)

    with pytest.raises(CannotRestore, match=r"A restore of snapshot 1 from .* was begun here"):
        machine.restore(2)
    assert machine.restore().files == 1  # the one that was begun, not the newest


def test_a_target_that_goes_away_in_the_middle_is_taken_up_again(keep, back_up, machine, place):
    for number in range(3):
        keep(f"photo {number}".encode())
    back_up()

    class Unplugged:
        def begin(self, stage, length):
            place.rename(place.with_name("unplugged"))

        def advance(self, count):
            """Of no interest."""

    with pytest.raises(LostTarget, match="not there any more"):
        machine.restore(progress=Unplugged())
    place.with_name("unplugged").rename(place)

    assert machine.restore().is_whole
    assert machine.wrong() == []


# --- Refused --------------------------------------------------------------------------------


@BOTH
def test_k53_a_database_that_is_not_empty_is_refused_and_nothing_is_touched(
    keep, back_up, machine, app, tmp_path
):
    keep()
    back_up()
    machine.settings["DATABASE_URL"] = app.config["SETTINGS"].database_url
    before = len(stored_files.photos())

    with pytest.raises(CannotRestore, match="The database is not empty"):
        machine.restore()

    assert not machine.root.exists()
    assert (len(stored_files.photos()), restores()) == (before, [])


def test_k53_a_folder_that_is_not_empty_is_refused_and_nothing_is_touched(keep, back_up, machine):
    keep()
    back_up()
    machine.root.mkdir(parents=True)
    (machine.root / "holiday.jpg").write_bytes(b"of somebody else")
    before = tree(machine.root)

    with pytest.raises(CannotRestore, match="is not empty"):
        machine.restore()

    assert tree(machine.root) == before
    with machine.opened(checked=False):
        assert sa.inspect(db.engine).get_table_names() == []


def test_k53_nor_is_a_folder_of_another_viewer_taken_over(keep, back_up, machine):
    keep()
    back_up()
    machine.root.mkdir(parents=True)
    storage.from_url(f"folder:{machine.root}").mark(str(uuid.uuid4()))
    before = tree(machine.root)

    with pytest.raises(CannotRestore, match="is not empty"):
        machine.restore(keep_files=True)
    assert tree(machine.root) == before


def test_k56_a_snapshot_of_newer_code_names_the_version_to_install(keep, back_up, machine, place):
    keep()
    back_up()
    alter_facts(place, revision="9999_of_the_future", version="99.1.0")

    with pytest.raises(CannotRestore, match=r"taken by version 99\.1\.0.* Install that version"):
        machine.restore()
    assert not machine.root.exists()


@pytest.mark.parametrize("file", ["database.sqlite3", "SHA256SUMS"])
def test_a_snapshot_whose_own_files_are_damaged_is_refused(keep, back_up, machine, place, file):
    keep()
    back_up()
    content = bytearray((newest(place) / file).read_bytes())
    content[len(content) // 2] ^= 1
    overwrite(newest(place) / file, bytes(content))

    with pytest.raises(CannotRestore, match=f"{file} is not what it was"):
        machine.restore()
    assert not machine.root.exists()


@BOTH
def test_a_database_with_fewer_rows_than_it_had_is_said_aloud(keep, back_up, machine, place):
    keep()
    back_up()
    tables = json.loads((newest(place) / "snapshot.json").read_text())["tables"]
    alter_facts(place, tables=tables | {"messages": 5})

    result = machine.restore()

    assert (result.is_whole, result.right) == (False, 1)
    assert result.problems == ["messages has 1 row, not 5."]


def test_the_newest_verified_one_is_taken_and_an_unverified_one_only_by_number(
    keep, back_up, machine, place
):
    keep(b"first")
    back_up()
    keep(b"second")
    back_up()
    (newest(place) / "verified.json").unlink()

    with machine.opened(checked=False):
        assert snapshots.find_all(targets.open_target(str(place))).newest_verified.number == 1
    result = machine.restore(2)

    assert (result.files, machine.said) == (2, ["Snapshot 2 was never verified."])


def test_without_a_verified_snapshot_it_says_which_there_are(keep, back_up, machine, place):
    keep()
    back_up()
    (newest(place) / "verified.json").unlink()

    with pytest.raises(CannotRestore, match=r"no verified snapshot\. It has: 1"):
        machine.restore()
    with pytest.raises(CannotRestore, match=r"no complete snapshot 7\. It has: 1"):
        machine.restore(7)


def test_a_snapshot_of_another_kind_of_database_is_refused(keep, back_up, machine, place):
    keep()
    back_up()
    shutil.copy(newest(place) / "database.sqlite3", newest(place) / "database.dump")
    facts = json.loads((newest(place) / "snapshot.json").read_text())["database"]
    alter_facts(place, database=facts | {"name": "database.dump"})

    with pytest.raises(CannotRestore, match="The snapshot is of PostgreSQL"):
        machine.restore()


def test_a_disk_that_is_too_small_is_refused(keep, back_up, machine, place):
    keep()
    back_up()
    alter_facts(place, bytes=10**18)

    with pytest.raises(CannotRestore, match=r"has room for .* are to be restored"):
        machine.restore()
    assert not machine.root.exists()


# --- Database and files do not agree ----------------------------------------------------------


@pytest.mark.proof
def test_k54_an_older_database_leaves_newer_files_to_the_provider(
    app, settings, deliver, message, provider, work, back_up, machine
):
    deliver(message(media=[provider.serve(noise(50, 40, 1))]).payload())
    work()
    back_up()
    later = message(media=[provider.serve(noise(50, 40, 2))])
    deliver(later.payload())
    work()
    back_up()

    result = machine.restore(1)

    assert (result.files, machine.wrong(), len(machine.rows())) == (1, [], 1)
    with machine.opened() as restored:
        ingest_again(restored, later)
    assert (len(machine.rows()), machine.wrong()) == (2, [])


def ingest_again(restored, sent) -> None:
    """The provider delivers it to the restored viewer, and no Redis is needed."""
    body, headers = signed(sent.payload(), "standard", SECRET, delivery_id=f"msg_{sent.number}")
    assert (
        restored.test_client().post("/webhooks/quo", data=body, headers=headers).status_code < 300
    )
    for event in db.session.scalars(sa.select(WebhookEvent.id).filter_by(state="received")).all():
        db.session.rollback()
        jobs.ingest_event(str(event))
    db.session.rollback()
    for media in sweep.due().media:
        db.session.rollback()
        jobs.collect_media(str(media))
    db.session.rollback()


def test_k54_the_folder_may_have_survived_with_newer_files(keep, back_up, machine, tmp_path):
    old = keep(b"old")
    back_up()
    new = keep(b"newer than the snapshot")
    shutil.copytree(tmp_path / "photos", machine.root)
    with pytest.raises(CannotRestore, match="--keep-files"):
        machine.restore()

    result = machine.restore(keep_files=True)

    assert (result.is_whole, result.restored) == (True, 0)
    assert [one.id for one in machine.rows()] == [old.id]
    assert hash_of(machine.root / new.file_path) == new.sha256  # for its late event to adopt


def test_k55_a_newer_database_has_damaged_rows_where_the_files_are_older(
    keep, back_up, machine, place
):
    old, new = keep(b"old"), keep(b"new")
    trashed = keep(b"trashed", state=State.TRASHED)
    back_up()
    for media in (new, trashed):
        (place / "media" / media.file_path).unlink()

    result = machine.restore()

    assert (result.is_whole, result.files, result.right) == (False, 3, 1)
    assert result.bad == dict.fromkeys((new.file_path, trashed.file_path), "not in the backup")
    rows = {one.id: one for one in machine.rows()}
    assert [rows[one.id].state for one in (old, new, trashed)] == [
        State.STORED, State.DAMAGED, State.TRASHED,
    ]  # fmt: skip
    assert rows[trashed.id].problem == "The file is missing from the store."
    with machine.opened():
        assert [run.outcome for run in restores()] == ["bad"]


def test_k57_a_damaged_file_of_the_pool_makes_its_row_damaged_and_no_other(
    keep, back_up, machine, place
):
    kept = [keep(f"photo {number}".encode()) for number in range(4)]
    back_up()
    overwrite(place / "media" / kept[1].file_path, b"flipped")

    result = machine.restore()

    assert (result.right, result.bad) == (3, {kept[1].file_path: "wrong in the backup"})
    assert machine.wrong() == [kept[1].file_path]
    assert not (machine.root / kept[1].file_path).exists()
    assert {one.id: one.state for one in machine.rows()} == {
        one.id: State.DAMAGED if one is kept[1] else State.STORED for one in kept
    }


def test_a_damaged_file_comes_from_its_twin(keep, back_up, machine, place):
    """One photo that was sent twice lies in the pool twice."""
    first, _second = keep(b"sent twice"), keep(b"sent twice")
    back_up()
    overwrite(place / "media" / first.file_path, b"flipped")

    assert machine.restore().is_whole
    assert machine.wrong() == []


def test_wrong_bytes_in_the_folder_are_never_overwritten(keep, back_up, machine, tmp_path):
    media, other = keep(b"right"), keep(b"right, too")
    back_up()
    shutil.copytree(tmp_path / "photos", machine.root)
    overwrite(machine.root / media.file_path, b"wrong")

    result = machine.restore(keep_files=True)

    assert result.bad == {media.file_path: "wrong in MEDIA_ROOT, where nothing is overwritten"}
    assert (machine.root / media.file_path).read_bytes() == b"wrong"
    rows = {one.id: one.state for one in machine.rows()}
    assert rows == {media.id: State.DAMAGED, other.id: State.STORED}


def test_a_row_that_was_damaged_is_stored_again_where_the_pool_has_its_bytes(
    keep, back_up, machine, tmp_path
):
    media = keep(b"right in the pool")
    back_up()
    overwrite(tmp_path / "photos" / media.file_path, b"wrong")
    db.session.execute(
        sa.update(MediaAttachment).values(
            state=State.DAMAGED, problem=findings.PROBLEMS[holdings.Finding.DIFFERENT]
        )
    )
    db.session.commit()
    back_up()

    assert machine.restore().is_whole
    assert [(one.state, one.problem) for one in machine.rows()] == [(State.STORED, None)]


def test_a_database_of_an_older_schema_is_migrated(keep, back_up, machine, place, tmp_path):
    media = keep()
    back_up()
    path = newest(place) / "database.sqlite3"
    path.chmod(0o600)
    with create_app(
        machine.settings | {"DATA_DIR": tmp_path / "old", "DATABASE_URL": f"sqlite:///{path}"}
    ).app_context():
        flask_migrate.downgrade(revision="0015")
        db.engine.dispose()
    tables = json.loads((newest(place) / "snapshot.json").read_text())["tables"]
    of_then = {name: rows for name, rows in tables.items() if name not in ("stores", "upkeep_runs")}
    describe_database(path, revision="0015", tables=of_then)

    assert machine.restore().is_whole
    assert [(one.id, one.state) for one in machine.rows()] == [(media.id, State.STORED)]


# --- What must not go on ----------------------------------------------------------------------


@BOTH
def test_k59_leases_claims_and_logins_of_before_are_over(app, keep, back_up, machine):
    user = accounts.add("owner@crack.example", User.Role.OWNER)
    db.session.flush()
    db.session.add(UserSession(fingerprint="f" * 64, user_id=user.id))
    message = text(customer("+16175550142"))
    [claimed] = files(
        message, state=State.DOWNLOADING, lease_until=now() + timedelta(seconds=20), attempts=3
    )
    deriving = keep(
        b"a claim", copy_state=CopyState.DUE, copy_attempts=2, copy_due_at=now() + timedelta(1)
    )
    assert ScheduledTask.take_lease("sweep", "the host that is gone", seconds=1e6, every=10)
    db.session.commit()
    back_up()

    machine.restore()

    with machine.opened():
        assert db.session.query(UserSession).count() == 0
        assert db.session.query(ScheduledTask).count() == 0
        row = db.session.get_one(MediaAttachment, claimed.id)
        assert (row.state, row.lease_until) == (State.PENDING, None)
        row = db.session.get_one(MediaAttachment, deriving.id)
        assert (row.copy_attempts, row.copy_due_at <= now()) == (0, True)
        db.session.commit()
        assert ScheduledTask.take_lease("sweep", "this host", seconds=60, every=10)
        db.session.rollback()


def test_k59_a_login_of_before_opens_nothing(app, client, back_up, machine):
    assert client.get("/").status_code == 200
    with client.session_transaction() as kept:
        cookie = dict(kept)
    back_up()

    machine.restore()

    with machine.opened() as restored:
        browser = restored.test_client()
        with browser.session_transaction() as session:
            session.update(cookie)
        assert browser.get("/").status_code == 401


def test_k59_what_the_provider_delivers_again_is_a_duplicate_and_old_reminders_do_nothing(
    app, deliver, message, provider, work, back_up, machine
):
    sent = message(media=[provider.serve(noise(50, 40, 1))])
    deliver(sent.payload(), delivery_id=f"msg_{sent.number}")
    work()
    back_up()
    gone = str(uuid.uuid4())

    machine.restore()

    with machine.opened() as restored:
        for reminder in (jobs.ingest_event, jobs.collect_media, jobs.derive_media):
            reminder(gone)  # of a row that came after the snapshot
            db.session.rollback()
        [media] = stored_files.photos()
        jobs.collect_media(str(media.id))
        ingest_again(restored, sent)
        assert db.session.query(WebhookEvent).count() == 1
        db.session.rollback()
    assert (len(machine.rows()), machine.wrong()) == (1, [])


# --- Stores -----------------------------------------------------------------------------------


def test_k71_rows_of_other_folders_are_in_this_one_and_rows_in_s3_stay_where_they_are(
    app, keep, back_up, machine, tmp_path
):
    bucket, other_host = stored_files.other_store(tmp_path / "bucket"), RegisteredStore()
    db.session.add(other_host)
    db.session.commit()
    mine = keep(b"in this host's folder")
    theirs = keep(b"in another host's folder")
    moved = keep(b"moved to S3", former_storage=holdings.own_id())
    stored_files.place(b"moved to S3", moved.file_path, holdings.spool(), holdings.store(bucket.id))
    back_up()
    # The list of sources of a backup asks each store; this folder is on a host that is gone by now.
    moved.storage, theirs.storage = bucket.id, other_host.id
    db.session.commit()
    copy_database_into(newest(machine.source))
    folder = holdings.own_id()

    result = machine.restore()

    assert (result.is_whole, result.files, result.elsewhere) == (True, 2, {bucket.address: 1})
    assert not (machine.root / moved.file_path).exists()
    with machine.opened():
        rows = {one.id: one for one in stored_files.photos()}
        assert {one.id: one.storage for one in rows.values()} == {
            mine.id: folder, theirs.id: folder, moved.id: bucket.id,
        }  # fmt: skip
        assert {one.former_storage for one in rows.values()} == {None}
        for row in rows.values():
            with holdings.open_file(row, row.file_path) as file:
                assert hashlib.sha256(file.read()).hexdigest() == row.sha256
        stores = db.session.query(RegisteredStore).filter_by(kind="folder").all()
        db.session.commit()
    assert [(one.id, one.address) for one in stores] == [(folder, str(machine.root))]


def test_k71_what_was_in_s3_comes_into_the_folder_if_that_is_wished(
    app, keep, back_up, machine, tmp_path
):
    """The bucket is lost, and its row with it."""
    bucket = stored_files.other_store(tmp_path / "bucket")
    stored_files.keep_in(bucket, b"moved to S3")
    keep(b"never moved")
    back_up()
    shutil.rmtree(tmp_path / "bucket")

    result = machine.restore(wish=Wish(into_folder=True))

    assert (result.is_whole, result.files, result.elsewhere) == (True, 2, {})
    assert machine.wrong() == []
    with machine.opened():
        assert db.session.scalars(sa.select(RegisteredStore.kind)).all() == ["folder"]
        db.session.rollback()


def test_k71_a_bucket_that_does_not_answer_is_said_aloud(app, keep, back_up, machine, tmp_path):
    bucket = stored_files.other_store(tmp_path / "bucket")
    stored_files.keep_in(bucket, b"moved to S3")
    back_up()
    shutil.rmtree(tmp_path / "bucket")

    result = machine.restore()

    assert not result.is_whole
    assert f"{bucket.address} could not be looked at" in result.words
    assert [(one.state, one.storage) for one in machine.rows()] == [(State.STORED, bucket.id)]


def test_no_viewer_starts_on_a_restore_that_has_not_ended(app):
    journal.write(
        app.config["SETTINGS"].media_root,
        journal.Journal(uuid.uuid4(), uuid.uuid4(), "folder:/mnt/backup", 3, uuid.uuid4()),
    )

    with pytest.raises(WrongStore, match="viewer restore --from"):
        identity.ensure()


@pytest.mark.parametrize("is_altered", [False, True], ids=["whole", "altered"])
def test_a_restore_says_whether_the_audit_log_is_whole(is_altered, keep, back_up, machine):
    keep()
    audit.note("caption", "North wall")
    db.session.commit()
    if is_altered:
        db.session.execute(sa.update(AuditEntry).values(words="South wall"))
        db.session.commit()
    back_up()

    result = machine.restore()

    assert ["The words of entry 1" in said for said in result.problems] == [True] * is_altered


def test_a_restore_says_that_the_audit_log_ends_elsewhere_than_in_the_snapshot(
    keep, back_up, machine, place
):
    keep()
    audit.note("caption", "North wall")
    db.session.commit()
    back_up()
    alter_facts(place, audit={"place": 2, "chain": "0" * 64})

    [said] = machine.restore().problems

    assert "snapshot 1, which recorded entry 2" in said
