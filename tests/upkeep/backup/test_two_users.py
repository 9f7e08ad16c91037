"""A backup by a second user is out of reach for whoever took over the viewer (row 144).

The user of the viewer owns database and originals. The user of the backup reads the originals,
writes the database (the run is on record like any other), and alone may write the target.
"""

import contextlib
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import stored_files
from tests.support.children import in_child
from tests.upkeep.backup.conftest import checked_by_sha256sum, hash_of, newest
from viewer.extensions import db
from viewer.models import UpkeepRun
from viewer.upkeep import runs
from viewer.upkeep.backup import coverage, record

# Users of nobody: a process may have any number.
APP, BACKUP, GROUP = 64_101, 64_102, 64_100

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: processes of other users are run"),
]


@pytest.fixture
def home(migrated: Any) -> Iterator[Path]:
    """What the users share; pytest's own folders are closed to both."""
    with tempfile.TemporaryDirectory(prefix="two-users-") as made:
        home = Path(made)
        home.chmod(0o755)
        for name in ("data", "photos"):
            (home / name).mkdir()
        shutil.copy(migrated("sqlite"), home / "data" / "viewer.db")
        yield home


@pytest.fixture
def settings(settings: dict[str, Any], home: Path) -> dict[str, Any]:
    return settings | {
        "DATA_DIR": home / "data",
        "MEDIA_ROOT": home / "photos",
        "DATABASE_URL": f"sqlite:///{home / 'data' / 'viewer.db'}",
    }


@pytest.fixture
def originals(app, home: Path, tmp_path: Path) -> list[Any]:
    """Two originals, in folders with the rights that an administrator gives them."""
    made = [stored_files.keep(f"photo {number}".encode()) for number in range(2)]
    # Once as root: what is imported only then may lie where the others may not read.
    assert record.back_up(f"folder:{tmp_path / 'first'}", same_filesystem=True).is_good
    hand_over(home)
    return made


@pytest.fixture
def target(home: Path) -> Path:
    """A disk of the backup's user."""
    made = home / "target"
    made.mkdir(mode=0o700)
    os.chown(made, BACKUP, GROUP)
    return made


def hand_over(home: Path) -> None:
    """The database to both by their group, the originals to the viewer's user alone."""
    db.engine.dispose()
    for name, folders, files in (("data", 0o2770, 0o660), ("photos", 0o2750, 0o440)):
        for path in [home / name, *(home / name).rglob("*")]:
            os.chown(path, APP, GROUP)
            path.chmod(folders if path.is_dir() else files)


def become(user: int) -> None:
    os.setgroups([])
    os.setresgid(GROUP, GROUP, GROUP)
    os.setresuid(user, user, user)
    os.umask(0o027)


def run_as(user: int, work: Callable[[], object]) -> None:
    """In a process of this user, which must end well."""

    def as_that_user() -> None:
        become(user)
        try:
            work()
        except BaseException:
            traceback.print_exc()  # the test itself sees no more than a status
            raise

    in_child(as_that_user)


def back_up(target: Path) -> None:
    result = record.back_up(f"folder:{target}", same_filesystem=True)
    assert result.is_good, result.words


def attack(paths: list[Path]) -> list[str]:
    """Try to alter, replace and remove each of these; what was possible."""
    done: list[str] = []
    for path in paths:
        attempts: dict[str, Callable[[], object]] = {
            "chmod": lambda path=path: path.chmod(0o777),
            "truncate": lambda path=path: os.truncate(path, 0),
            "add": lambda path=path: (path.parent / "forged").touch(),
            "replace": lambda path=path: (path.parent / "forged").replace(path),
            "remove": lambda path=path: path.unlink(),
        }
        for name, attempt in attempts.items():
            with contextlib.suppress(PermissionError, FileNotFoundError):
                attempt()
                done.append(f"{name} {path.name}")
    return done


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_144_the_second_user_backs_up_and_its_run_is_on_record(originals, target):
    run_as(BACKUP, lambda: back_up(target))

    run = runs.latest(runs.Kind.BACKUP, f"folder:{target}")
    db.session.commit()
    assert run is not None
    assert (run.outcome, run.counts["files"]) == (UpkeepRun.Outcome.GOOD, 2)
    assert coverage.read().verified_at is not None
    checked_by_sha256sum(target)
    assert {path.stat().st_uid for path in target.rglob("*")} == {BACKUP}


def test_144_the_viewer_goes_on_beside_it(originals, target, home):
    """Whoever opened the database first made its log: the other may write into it."""
    run_as(BACKUP, lambda: back_up(target))
    run_as(APP, lambda: stored_files.keep(b"photo 3"))
    run_as(BACKUP, lambda: back_up(target))

    run = runs.latest(runs.Kind.BACKUP, f"folder:{target}")
    assert run is not None
    assert run.counts["files"] == 3


def test_144_whoever_has_the_rights_of_the_viewer_cannot_touch_the_backup(originals, target, home):
    run_as(BACKUP, lambda: back_up(target))
    before = {path: hash_of(path) for path in files_below(target)}
    report = home / "data" / "report"

    def intrude() -> None:
        for path in files_below(home / "photos"):  # it may do this: they are its own
            path.chmod(0o600)
            path.write_bytes(b"pay us")
        report.write_text("\n".join(attack(list(before))))
        result = record.back_up(f"folder:{target}", same_filesystem=True)
        assert result.has_failed, result.words
        assert "Permission denied" in result.words

    run_as(APP, intrude)

    assert report.read_text() == ""
    assert {path: hash_of(path) for path in files_below(target)} == before
    checked_by_sha256sum(target)
    kept = newest(target).parents[1] / "media"
    assert [hash_of(kept / one.file_path) for one in originals] == [one.sha256 for one in originals]


def test_144_nor_can_the_user_of_the_backup_touch_the_originals(originals, target, home):
    report = home / "data" / "report"
    photos = files_below(home / "photos")
    run_as(BACKUP, lambda: report.write_text("\n".join(attack(photos))))

    assert report.read_text() == ""
    assert files_below(home / "photos") == photos


def test_144_in_a_target_of_the_viewers_own_user_the_same_attack_succeeds(originals, target, home):
    """The negative control: this is what the second user is for."""
    os.chown(target, APP, GROUP)
    run_as(APP, lambda: back_up(target))
    paths, report = files_below(target), home / "data" / "report"

    run_as(APP, lambda: report.write_text("\n".join(attack(paths))))

    assert len(report.read_text().splitlines()) == 5 * len(paths)
