"""kill -9 at each step of a backup: nothing half counts, nothing stays behind.

What a test is about is a step (`viewer/failpoint.py`).
"""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.children import in_child
from tests.support.pictures import noise
from tests.support.stored_files import keep as keep_picture
from tests.upkeep.backup.conftest import checked_by_sha256sum, hash_of, losses, newest, overwrite
from viewer import failpoint
from viewer.extensions import db, now
from viewer.models import MediaAttachment, UpkeepRun
from viewer.upkeep.backup import record, retention

KILLED = -9
DAY = timedelta(days=1)
UNNAMED = "2026/09/21/617-555-0123/messages/unnamed.jpg"


class Scene:
    """Three verified snapshots of four originals, and what happened since."""

    def __init__(self, back_up: Any, travel: Any, place: Path, photos: Path, patch: Any) -> None:
        self._back_up, self.travel, self._patch = back_up, travel, patch
        self.place, self.photos = place, photos
        self.begin, self.day = now(), 0
        self.media: list[MediaAttachment] = []

    def back_up(self) -> Any:
        self.day += 1
        with self.travel(self.begin + self.day * DAY):
            return self._back_up()

    def die(self, step: str, work: Callable[[], Any] | None = None) -> None:
        """In the next backup, or in `work`."""
        with self._patch.context() as patched:
            patched.setenv(failpoint.VARIABLE, f"{step}=kill")
            in_child(work or self.back_up, expected=KILLED)
        self.day += 1  # the child's day is over

    def snapshots(self) -> list[str]:
        return sorted(path.name for path in (self.place / "snapshots").glob("*"))

    def pool(self) -> dict[str, str | None]:
        """The hashes of the originals that lie there."""
        paths = {one.file_path: self.place / "media" / one.file_path for one in self.media}
        return {key: hash_of(path) for key, path in paths.items() if path.exists()}

    def everything(self) -> dict[str, str | None]:
        return {one.file_path: one.sha256 for one in self.media}


@pytest.fixture
def scene(keep, back_up, place, tmp_path, monkeypatch, time_machine_at) -> Scene:
    """The next run has two new originals and a new thumbnail, and an old snapshot to prune."""
    monkeypatch.setattr(retention, "RULES", ())  # the last three alone
    made = Scene(back_up, time_machine_at, place, tmp_path / "photos", monkeypatch)
    made.media = [keep(f"photo {number}".encode()) for number in range(3)]
    for _ in range(3):
        assert made.back_up().is_good
    made.media += [keep(b"new"), keep(b"new, too"), keep_picture(noise(9, 9, 9), with_copies=True)]
    return made


def settled(scene: Scene) -> None:
    """The next run is good, and after the pruning of the later ones nothing of the dead is left."""
    result = scene.back_up()

    assert result.is_good, result.words
    assert scene.pool() == scene.everything()
    assert losses(scene.place, newest(scene.place)) == []
    checked_by_sha256sum(scene.place)
    assert [path.name for path in scene.place.glob(".incoming/*")] == []

    for _ in range(2):
        assert scene.back_up().is_good
    assert len(scene.snapshots()) == 3
    for one in (scene.place / "snapshots").iterdir():
        assert sorted(path.name for path in one.iterdir()) == [
            "SHA256SUMS", "database.sqlite3", "snapshot.json", "verified.json",
        ]  # fmt: skip
    checked_by_sha256sum(scene.place)
    assert not (scene.place / "media" / UNNAMED).exists()


QUICK = ["backup.database", "backup.placed@1", "backup.complete", "backup.pruning@1"]
STEPS = [
    "backup.copied", "backup.database", "storage.sealed@1", "backup.sealed@1", "storage.folders@2",
    "storage.linked@1", "storage.linked@2", "storage.placed@3", "backup.placed@1",
    "backup.placed@3", "backup.filled", "backup.listed", "backup.completing", "backup.complete",
    "backup.listed_again", "backup.compared", "backup.verified", "backup.pruning@1",
    "backup.pruning@2", "backup.pruning@3", "backup.pruning@4", "backup.pruned",
]  # fmt: skip
AFTER_THE_COMPARISON = ("backup.verified", "backup.prun")


@pytest.mark.parametrize(
    "step",
    [pytest.param(step, marks=() if step in QUICK else pytest.mark.proof) for step in STEPS],
)
def test_k35_killed_at_any_step_nothing_half_counts_and_the_next_run_is_good(step, scene, found):
    scene.die(step)

    is_verified = step.startswith(AFTER_THE_COMPARISON)
    assert found().newest_verified.number == (4 if is_verified else 3)
    assert scene.pool().items() <= scene.everything().items()  # whole, or not there
    assert UpkeepRun.Outcome.RUNNING in db.session.scalars(sa.select(UpkeepRun.outcome)).all()
    db.session.commit()
    settled(scene)


@pytest.mark.proof
@pytest.mark.parametrize(
    "step", ["storage.marking", "backup.marked", "storage.mkdir@1", "storage.mkdir@3"]
)
def test_k35_killed_in_the_very_first_run_the_place_is_taken_all_the_same(
    step, keep, back_up, place, found, monkeypatch, time_machine_at
):
    media = keep(b"right")
    with monkeypatch.context() as patched:
        patched.setenv(failpoint.VARIABLE, f"{step}=kill")
        in_child(back_up, expected=KILLED)

    with time_machine_at(now() + DAY):
        result = back_up()

    assert (result.is_good, result.snapshot) == (True, 1)
    assert hash_of(place / "media" / media.file_path) == media.sha256
    checked_by_sha256sum(place)
    assert sorted(path.name for path in place.iterdir()) == [
        ".incoming", ".viewer-backup", "media", "snapshots",
    ]  # fmt: skip


@pytest.mark.proof
@pytest.mark.parametrize("step", ["storage.moving", "backup.set_aside"])
def test_k35_killed_while_wrong_bytes_of_the_pool_are_set_aside_they_are_replaced(step, scene):
    overwrite(scene.place / "media" / scene.media[0].file_path, b"cut")

    scene.die(step)
    settled(scene)

    aside = [path for path in scene.place.glob("quarantine/**/*.*") if path.is_file()]
    assert {path.read_bytes() for path in aside} == {b"cut"}  # under the name of each run


@pytest.mark.proof
@pytest.mark.parametrize("step", [f"storage.moving@{turn}" for turn in (1, 2, 3, 4)])
def test_k35_killed_while_a_damaged_snapshot_is_set_aside(step, scene, found):
    database = newest(scene.place) / "database.sqlite3"
    database.chmod(0o600)
    os.truncate(database, 4096)
    damaged = database.parent.name

    scene.die(step)
    scene.back_up()  # says so, where the dead one had no time to
    settled(scene)

    assert damaged not in scene.snapshots()
    assert (scene.place / "quarantine" / "snapshots" / damaged / "database.sqlite3").exists()


@pytest.mark.proof
@pytest.mark.parametrize("turn", [1, 2])
def test_k35_killed_while_files_of_the_pool_are_forgotten(turn, scene):
    for number in range(3):
        stray = scene.place / "media" / UNNAMED.replace("unnamed", f"unnamed-{number}")
        stray.write_bytes(b"of a run that was killed")

    scene.die(f"backup.forgetting@{turn}")
    assert len(list(scene.place.glob("media/**/unnamed*"))) == 3 - turn
    settled(scene)

    assert list(scene.place.glob("media/**/unnamed*")) == []


@pytest.mark.proof
@pytest.mark.parametrize("turn", [1, 2, 3, 4])
def test_k35_killed_while_only_pruning(turn, scene, found, monkeypatch):
    with monkeypatch.context() as usual:
        usual.setattr(retention, "ALWAYS", 4)
        assert scene.back_up().is_good
    assert len(found().verified) == 4

    scene.die(f"backup.pruning@{turn}", lambda: prune(scene))
    assert [one.number for one in found().verified] == [2, 3, 4]
    assert prune(scene).problem is None

    assert len(scene.snapshots()) == 3
    settled(scene)


def prune(scene: Scene) -> retention.Pruned:
    with scene.travel(scene.begin + (scene.day + 1) * DAY):
        return record.prune_only(str(scene.place), same_filesystem=True)


@pytest.mark.proof
def test_k35_killed_again_and_again_it_gets_there(scene, found):
    """Each run does a little more, and the files of the dead are used by the next."""
    for step in ("backup.placed@1", "backup.placed@1", "storage.linked@2", "backup.listed"):
        scene.die(step)
    assert found().newest_verified.number == 3
    assert len(scene.pool()) == len(scene.media)

    result = scene.back_up()
    assert (result.is_good, result.counts["copied"]) == (True, 0)
    scene.back_up()
    settled(scene)
