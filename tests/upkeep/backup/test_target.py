"""A target is ours, on another disk, and there; else nothing is written."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.crash import disks
from viewer.extensions import db
from viewer.models import RegisteredStore, UpkeepRun
from viewer.storage import UnknownStore
from viewer.upkeep import runs
from viewer.upkeep.backup import record
from viewer.upkeep.backup.targets import target as targets


def test_the_marker_names_the_target_and_the_viewer(keep, back_up, place):
    keep()
    back_up()

    marker = (place / ".viewer-backup").read_text()
    opened = targets.open_target(str(place))
    assert marker == f"target {opened.id} of viewer {targets.viewer_identity()}"
    db.session.commit()


def test_k36_a_folder_beside_the_originals_on_one_disk_is_refused(keep, back_up, place):
    keep()
    result = back_up(same_filesystem=False)

    assert (result.is_good, result.has_failed) == (False, True)
    assert "on the same file system as" in result.words
    assert "Is the disk of the backup mounted?" in result.words
    assert not place.exists()
    run = runs.latest(runs.Kind.BACKUP)
    assert run is not None
    assert run.outcome is UpkeepRun.Outcome.FAILED


@pytest.mark.parametrize("inside", ["photos/backup", "data/backup", "photos", "."])
def test_k36_a_folder_in_ours_or_around_it_is_refused_whatever_is_said(
    inside, keep, back_up, tmp_path
):
    keep()
    before = sorted(tmp_path.rglob("*"))
    result = back_up(tmp_path / inside)

    assert result.has_failed
    assert "lie in each other" in result.words
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_with_other_files_is_refused_and_left_alone(keep, back_up, place):
    keep()
    place.mkdir()
    (place / "thesis.odt").write_text("important")

    assert back_up().words == f"folder:{place} is not empty and no backup: name an empty folder."
    assert [path.name for path in place.iterdir()] == ["thesis.odt"]


def test_k36_a_mount_point_without_its_disk_is_refused(keep, back_up, place, tmp_path):
    keep()
    back_up()
    place.rename(tmp_path / "the disk")
    place.mkdir()

    result = back_up()

    assert result.has_failed
    assert "is its disk mounted?" in result.words
    assert list(place.iterdir()) == []


def test_k36_so_is_an_empty_disk_in_its_place_after_a_run_that_was_killed(
    keep, back_up, place, tmp_path
):
    """Also where no run ever ended."""
    keep()
    back_up()
    db.session.execute(
        UpkeepRun.__table__.update().values(ended_at=None, outcome="running")  # type: ignore[attr-defined]
    )
    db.session.commit()
    shutil.rmtree(place)

    assert back_up().has_failed


def test_a_refused_first_try_does_not_bar_the_place(keep, back_up, place):
    keep()
    assert back_up(same_filesystem=False).has_failed

    assert back_up().is_good


def test_the_target_of_another_viewer_is_refused(keep, back_up, place):
    keep()
    back_up()
    ours = db.session.query(RegisteredStore).one()
    other = f"{ours.id}"[:-4] + "0000"
    marker = place / ".viewer-backup"
    marker.write_text(marker.read_text().replace(str(ours.id), other))
    db.session.commit()

    assert back_up().words == f"folder:{place} holds the backups of another viewer."


def test_a_disk_that_goes_away_in_the_middle_fails_the_run(keep, back_up, place, tmp_path):
    from_here = tmp_path / "elsewhere"
    keep()

    class Unmount:
        def begin(self, stage: str, length: int) -> None:
            if stage == "comparing":
                place.rename(from_here)

        def advance(self, count: int) -> None: ...

    result = back_up(progress=Unmount())

    assert result.has_failed
    assert result.words == "The target is not there any more: is its disk mounted?"


def test_a_folder_that_is_no_backup_is_not_opened(tmp_path):
    with pytest.raises(targets.Refused, match="is no backup"):
        targets.open_target(str(tmp_path))


@pytest.mark.parametrize("url", ["backup", "folder:backup", "ftp://host/backup"])
def test_an_address_that_names_no_folder_is_refused(url, app):
    with pytest.raises(UnknownStore):
        record.back_up(url)


# --- Real disks ----------------------------------------------------------------------------


@pytest.fixture
def disk(stack: ExitStack) -> Path:
    disks.needs_mounts()
    return disks.Disk(stack, "24M").path / "backup"


@pytest.mark.proof
def test_another_disk_needs_no_permission(keep, back_up, disk):
    keep()

    assert back_up(disk, same_filesystem=False).is_good


@pytest.mark.proof
def test_k36_a_full_target_fails_the_run_and_the_next_one_goes_on(keep, back_up, disk, found):
    kept = [keep(bytes([number]) * 1_000_000) for number in range(5)]
    assert back_up(disk, same_filesystem=False).is_good
    with (disk.parent / "filler").open("wb") as filler:
        filler.write(bytes(11_000_000))
    kept += [keep(bytes([100 + number]) * 1_000_000) for number in range(5)]

    result = back_up(disk, same_filesystem=False)
    (disk.parent / "filler").unlink()

    assert result.has_failed
    assert result.words.startswith("The target has room for ") or "full" in result.words
    again = back_up(disk, same_filesystem=False)
    assert (again.is_good, again.counts["files"]) == (True, 10)


@pytest.mark.proof
def test_k36_a_target_that_fills_up_meanwhile_is_called_full(keep, back_up, disk):
    keep(b"first")
    assert back_up(disk, same_filesystem=False).is_good
    keep(bytes(3_000_000))

    class Fill:
        def begin(self, stage: str, length: int) -> None:
            if stage == "copying":
                with pytest.raises(OSError), (disk.parent / "filler").open("wb") as filler:
                    filler.write(bytes(64_000_000))

        def advance(self, count: int) -> None: ...

    assert back_up(disk, same_filesystem=False, progress=Fill()).words == "The target is full."


@pytest.mark.proof
def test_k36_a_read_only_target_is_said_to_be_one(keep, back_up, disk):
    keep()
    assert back_up(disk, same_filesystem=False).is_good
    disks.remount(disk.parent, "ro")

    assert back_up(disk, same_filesystem=False).words == "The target is read-only."
