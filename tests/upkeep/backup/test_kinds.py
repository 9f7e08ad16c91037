"""What every kind of target promises: the same tests run over each."""

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask

from tests.support.children import in_child
from tests.upkeep.backup.conftest import At, checked_by_sha256sum, hash_of, losses, newest
from tests.upkeep.backup.kinds import Kind, access
from tests.upkeep.backup.kinds import kind as kind
from viewer import failpoint
from viewer.extensions import db, now
from viewer.models import MediaAttachment, RegisteredStore
from viewer.office import trash
from viewer.upkeep.backup import record, retention, snapshots
from viewer.upkeep.backup.run import Result
from viewer.upkeep.backup.snapshots import Found
from viewer.upkeep.backup.targets import target as targets

State = MediaAttachment.State


@pytest.fixture
def settings(request, settings):
    return settings | access(request)


@pytest.fixture
def back_up(app: Flask, kind: Kind) -> Callable[..., Result]:
    return lambda **words: record.back_up(kind.url, **{"same_filesystem": True, **words})


@pytest.fixture
def found(app: Flask, kind: Kind) -> Callable[[], Found]:
    return lambda: snapshots.find_all(targets.open_target(kind.url))


def test_every_original_and_the_database_are_in_it(keep, back_up, kind, found):
    kept = [keep(f"photo {number}".encode()) for number in range(3)]

    first, again = back_up(), None
    kept.append(keep(b"later"))
    again = back_up()
    there = kind.mirror()

    assert (first.is_good, first.counts["copied"], first.counts["read"]) == (True, 3, 3)
    assert (again.is_good, again.counts["copied"], again.counts["files"]) == (True, 1, 4)
    assert [hash_of(there / "media" / one.file_path) for one in kept] == [
        one.sha256 for one in kept
    ]
    assert losses(there, newest(there)) == []
    checked_by_sha256sum(there)
    assert [one.number for one in found().verified] == [1, 2]


def test_k34_a_file_that_comes_while_the_backup_runs_is_in_the_next_one(keep, back_up, kind):
    keep(b"before")
    assert back_up(progress=At("copying", lambda: keep(b"meanwhile"))).is_good

    there = kind.mirror()
    assert losses(there, newest(there)) == []
    assert back_up().counts["copied"] == 1


def test_k66_what_vanished_or_was_cut_is_written_again(keep, back_up, kind):
    gone, cut = keep(b"right"), keep(b"right, too")
    back_up()
    kind.remove(f"media/{gone.file_path}")
    kind.overwrite(f"media/{cut.file_path}", b"cut")

    result = back_up()
    there = kind.mirror()

    assert (result.is_good, result.counts["healed"]) == (True, 2)
    checked_by_sha256sum(there)
    [aside] = [path for path in there.glob("quarantine/**/*.*") if path.is_file()]
    assert aside.read_bytes() == b"cut"


@pytest.mark.proof
def test_k43_a_flipped_bit_is_found_when_its_slice_is_due_and_healed(keep, back_up, kind):
    media = keep(b"right")
    back_up()
    kind.overwrite(f"media/{media.file_path}", b"wrong")
    there = kind.mirror()
    # S3 takes no request of another day: so the last comparison is made an old one.
    verified = newest(there) / "verified.json"
    words = json.loads(verified.read_text()) | {"read_on": "2026-01-01"}
    kind.overwrite(str(verified.relative_to(there)), json.dumps(words).encode())

    result = back_up()

    assert (result.is_good, result.counts["healed"]) == (True, 1)
    assert hash_of(kind.mirror() / "media" / media.file_path) == media.sha256


@pytest.mark.proof
def test_k43_a_truncated_database_is_set_aside_and_the_run_is_bad(keep, back_up, kind, found):
    keep()
    back_up()
    there = kind.mirror()
    database = newest(there) / "database.sqlite3"
    kind.overwrite(str(database.relative_to(there)), database.read_bytes()[:-4096])

    result, again = back_up(), back_up()

    assert (result.is_good, again.is_good) == (False, True)
    assert "is damaged in the target, and was set aside" in result.words
    assert [one.number for one in found().complete] == [2, 3]


def test_k35_what_a_run_left_that_ended_early_is_used_and_cleared(keep, back_up, kind, found):
    media = keep(b"right")

    def end() -> None:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        back_up(progress=At("comparing", end))
    kind.overwrite("snapshots/000002-20260101T031500Z/SHA256SUMS", b"of a run that was killed")

    result = back_up()
    there = kind.mirror()

    assert (result.is_good, result.snapshot) == (True, 3)
    assert result.counts["copied"] == 0
    assert hash_of(there / "media" / media.file_path) == media.sha256
    assert not (there / "snapshots/000002-20260101T031500Z/SHA256SUMS").exists()


@pytest.mark.proof
def test_snapshots_go_when_their_time_is_over(keep, back_up, found, monkeypatch):
    monkeypatch.setattr(retention, "RULES", ())  # the last three alone
    keep()
    assert all(back_up().is_good for _ in range(5))

    assert [one.number for one in found().complete] == [3, 4, 5]


@pytest.mark.proof
def test_k69_a_file_goes_when_no_snapshot_names_it(keep, back_up, kind):
    gone = keep(b"purged", state=State.TRASHED, trashed_at=now() - timedelta(days=40))
    stays = keep(b"stays")
    back_up()
    trash.purge([gone.id], None)
    for path in (there := kind.mirror()).glob("snapshots/*/*"):
        kind.remove(str(path.relative_to(there)))

    assert back_up().is_good

    there = kind.mirror() / "media"
    assert not (there / gone.file_path).exists()
    assert hash_of(there / stays.file_path) == stays.sha256


def test_a_place_with_other_files_and_the_target_of_another_viewer_are_refused(keep, back_up, kind):
    keep()
    kind.overwrite("thesis.odt", b"important")
    assert "is not empty and no backup: name an empty" in back_up().words
    kind.remove("thesis.odt")
    assert back_up().is_good

    ours = db.session.query(RegisteredStore).one()
    marker = (kind.mirror() / ".viewer-backup").read_text()
    kind.overwrite(".viewer-backup", marker.replace(str(ours.id), str(uuid.uuid4())).encode())
    db.session.commit()

    assert back_up().words == f"{kind.url} holds the backups of another viewer."


def test_k36_a_target_that_lost_its_marker_is_refused(keep, back_up, kind):
    keep()
    back_up()
    kind.remove(".viewer-backup")
    keep(b"new")
    before = hashes(kind.mirror())

    result = back_up()

    assert result.has_failed
    assert "backups were made there before" in result.words
    assert hashes(kind.mirror()) == before


def hashes(there: Path) -> dict[str, str | None]:
    return {str(path.relative_to(there)): hash_of(path) for path in sorted(there.rglob("*"))}


@pytest.mark.proof
def test_k36_a_target_that_goes_away_in_the_middle_makes_the_run_bad(keep, back_up, kind, found):
    keep()
    marker = (kind.mirror() / ".viewer-backup").read_bytes() if back_up().is_good else b""
    keep(b"new")

    result = back_up(progress=At("comparing", lambda: kind.remove(".viewer-backup")))
    kind.overwrite(".viewer-backup", marker)

    assert not result.is_good
    assert "is its disk mounted?" in result.words or "is it the right one?" in result.words
    assert [one.is_verified for one in found().complete] == [True, False]


# --- Killed ----------------------------------------------------------------------------------

QUICK = ["backup.placed@1", "backup.complete"]
STEPS = [
    "backup.copied", "backup.database", "backup.sealed@1", "backup.placed@1", "backup.filled",
    "backup.listed", "backup.completing", "backup.complete", "backup.listed_again",
    "backup.compared", "backup.verified", "backup.pruning@1", "backup.pruning@3", "backup.pruned",
]  # fmt: skip
proof = pytest.mark.proof


@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=() if step in QUICK else proof) for step in STEPS]
)
@pytest.mark.proof
@pytest.mark.parametrize("kind", ["s3", pytest.param("ssh", marks=proof)], indirect=True)
def test_k35_killed_at_any_step_nothing_half_counts_and_the_next_run_is_good(
    step, keep, back_up, kind, found, app, monkeypatch, time_machine_at
):
    monkeypatch.setattr(retention, "RULES", ())  # the last three alone
    kept = [keep(b"first")]
    assert all(back_up().is_good for _ in range(3))
    kept += [keep(b"new"), keep(b"new, too")]

    with monkeypatch.context() as patched:
        patched.setenv(failpoint.VARIABLE, f"{step}=kill")
        in_child(back_up, expected=-9)
    there = kind.mirror()
    for folder in there.glob("snapshots/*/verified.json"):
        assert losses(there, folder.parent) == []
    # When the lease of the dead run is over; S3 takes no request of another day.
    with time_machine_at(now() + timedelta(minutes=5)):
        result = back_up()

    there = kind.mirror()
    assert result.is_good, result.words
    assert losses(there, newest(there)) == []
    checked_by_sha256sum(there)
    assert [hash_of(there / "media" / one.file_path) for one in kept] == [
        one.sha256 for one in kept
    ]
    spool = app.config["SETTINGS"].data_dir / "backup-spool"
    assert [path for path in spool.rglob("*") if path.is_file()] == []
    assert [path for path in there.glob(".incoming/*") if path.is_file()] == []
