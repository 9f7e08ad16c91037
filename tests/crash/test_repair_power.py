"""The power fails between any two steps of a repair from the backup: no wrong byte is ever good.

Database and originals are on a disk each; the backup is whole, and elsewhere. Of three originals
one has a flipped bit and one is gone. A process is killed at a step, which writes nothing to disk;
then only what was synced is kept.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.crash import checks
from tests.crash.conftest import KILLED, Powered, Scene
from tests.support.damage import harm


@dataclass(frozen=True)
class Harmed:
    """A viewer whose originals were harmed, and its backup."""

    powered: Powered
    scene: Scene  # whose settings name the backup

    def repair(self, **words: Any) -> int:
        return self.scene.run("verify", **words)

    @contextmanager
    def after_power_cut(self) -> Iterator[Scene]:
        with self.powered.after_power_cut() as found:
            yield replace(found, settings=self.scene.settings | _places(found))


def _places(scene: Scene) -> dict[str, Any]:
    return {name: scene.settings[name] for name in ("DATA_DIR", "MEDIA_ROOT", "DATABASE_URL")}


@pytest.fixture
def harmed(powered: Powered, message: Callable[..., Any], tmp_path: Path) -> Harmed:
    scene = powered.scene
    scene.announced(message(media=scene.photos(3)))
    assert scene.run("collect") == 0
    target = tmp_path / "backup"
    assert scene.run("back-up", target=str(target)) == 0
    first, second, _ = (row["file_path"] for row in scene.rows())
    harm(scene.media_root / first, "flipped")
    harm(scene.media_root / second, "missing")
    powered.sync()
    return Harmed(
        powered, replace(scene, settings=scene.settings | {"BACKUP_TARGETS": str(target)})
    )


def is_mended(scene: Scene) -> None:
    """The next check, on what the power cut left, ends with every original right."""
    run = scene.start("verify")
    outcome, _ = run.heard()
    assert (run.ended(), outcome) == (0, "good")
    rows = scene.rows()
    assert {row["state"] for row in rows} == {"stored"}
    assert [checks.content_hash(scene.media_root / row["file_path"]) for row in rows] == [
        row["sha256"] for row in rows
    ]
    assert len(list((scene.media_root / "quarantine" / "damaged").iterdir())) == 1


STEPS = [
    "repair.fetched@1", "repair.fetched@2", "storage.moving", "repair.moved@1", "repair.moved@2",
    "storage.linked@1", "storage.linked@2", "repair.placed@1", "repair.placed@2",
    "repair.noted@1", "repair.noted@2",
]  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_after_a_power_cut_at_any_step_no_wrong_byte_is_good_and_the_next_check_mends(step, harmed):
    code = harmed.repair(failpoints=f"{step}=kill")
    with harmed.after_power_cut() as found:
        good = [row for row in found.rows() if row["state"] == "stored"]
        wrong = [
            row["file_path"]
            for row in good
            if checks.content_hash(found.media_root / row["file_path"]) != row["sha256"]
        ]
        is_mended(found)

    assert code == KILLED
    assert (wrong, len(good) < 3 or step == "repair.noted@2") == ([], True)


def test_what_was_repaired_survives_a_power_cut_right_after(harmed):
    assert harmed.repair() == 0

    with harmed.after_power_cut() as found:
        states = [row["state"] for row in found.rows()]
        is_mended(found)

    assert states == ["stored"] * 3


def test_the_suite_sees_a_repair_that_syncs_nothing(harmed):
    """The negative control."""
    assert harmed.repair(sabotage=("no-file-fsync",)) == 0

    with harmed.after_power_cut() as found:
        assert [line for line in found.violations() if line.startswith("I3")]
