"""The power fails between any two steps of a restore (K52): it goes on, and loses nothing.

The new machine has two disks, for database and originals. A process is killed at a step, which
writes nothing to disk; then only what was synced is kept.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import KILLED, Machine, Scene


@dataclass(frozen=True)
class Empty:
    """A machine on which there is nothing yet, and the backup of a viewer with three originals."""

    scene: Scene  # what the world knows of that viewer
    machine: Machine
    name: str
    target: Path

    def restore(self, **words: Any) -> int:
        data, media = self.machine.database.path / self.name, self.machine.media.path / self.name
        return self._at(data, media).run("restore", target=str(self.target), **words)

    @contextmanager
    def after_power_cut(self) -> Iterator[Scene]:
        database, media_disk = self.machine.database, self.machine.media
        with database.after_power_cut() as data, media_disk.after_power_cut() as media:
            yield self._at(data / self.name, media / self.name)

    def _at(self, data: Path, media: Path) -> Scene:
        settings = {
            "DATA_DIR": str(data),
            "MEDIA_ROOT": str(media),
            "DATABASE_URL": f"sqlite:///{data / 'viewer.db'}",
        }
        return replace(self.scene, settings=self.scene.settings | settings)


@pytest.fixture
def empty(
    scene: Scene, machine: Machine, message: Callable[..., Any], tmp_path: Path
) -> Iterator[Empty]:
    scene.announced(message(media=scene.photos(3)))
    assert scene.run("collect") == 0
    target = tmp_path / "backup"
    assert scene.run("back-up", target=str(target)) == 0
    made = Empty(scene, machine, tmp_path.name, target)
    for disk in (machine.database, machine.media):
        (disk.path / made.name).mkdir()
        disk.sync()
    yield made
    for disk in (machine.database, machine.media):
        shutil.rmtree(disk.path / made.name)


def goes_on(found: Scene, target: Path) -> None:
    """The next run, on what the power cut left, ends with everything in its place."""
    run = found.start("restore", target=str(target))
    is_whole, words = run.heard()
    assert (run.ended(), is_whole) == (0, True), words
    assert found.unsettled() == []
    assert not (found.media_root / ".viewer-restore").exists()


STEPS = [
    "restore.noted", "storage.marking", "restore.marked", "restore.copied", "restore.migrated",
    "restore.taken_over", "storage.sealed@2", "storage.mkdir@3", "storage.linked@1",
    "storage.linked@3", "restore.placed@2", "restore.filled", "restore.adjusted",
    "restore.recorded", "restore.publishing", "restore.published",
]  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_k52_after_a_power_cut_at_any_step_the_restore_goes_on(step, empty):
    code = empty.restore(failpoints=f"{step}=kill")
    with empty.after_power_cut() as found:
        goes_on(found, empty.target)

    assert code == KILLED


@pytest.mark.parametrize("step", ["storage.linked@1", "restore.filled"])
def test_k52_what_a_killed_run_placed_is_durable_once_the_next_one_ended(step, empty):
    """That run made names, and died before their folder's fsync; the next one owes that."""
    assert empty.restore(failpoints=f"{step}=kill") == KILLED
    assert empty.restore() == 0

    with empty.after_power_cut() as found:
        assert found.unsettled() == []


def test_k52_what_was_restored_survives_a_power_cut_right_after(empty):
    assert empty.restore() == 0

    with empty.after_power_cut() as found:
        broken, states = found.unsettled(), [row["state"] for row in found.rows()]

    assert (broken, states) == ([], ["stored"] * 3)


def test_k52_the_suite_sees_a_restore_that_syncs_nothing(empty):
    """The negative control. Names alone are no use here: one fsync of a folder syncs them all."""
    assert empty.restore(sabotage=("no-file-fsync",)) == 0

    with empty.after_power_cut() as found:
        assert [line for line in found.violations() if line.startswith("I3")]
