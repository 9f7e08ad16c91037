"""The power fails between any two steps of a backup (K67): what counts is on the target's disk.

Three disks: the database's, the originals', the target's. A process is killed at a step, which
writes nothing to disk; then only what was synced is kept.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.crash import checks, disks
from tests.crash.conftest import KILLED, Powered, Scene

LATER = (200.0,)  # seconds; the dead one's lease is over


@dataclass(frozen=True)
class Backed:
    """A viewer with three originals, and a target on a disk of its own."""

    powered: Powered
    disk: disks.Disk
    name: str

    @property
    def place(self) -> Path:
        return self.disk.path / self.name

    def back_up(self, **words: Any) -> int:
        return self.powered.scene.run("back-up", target=str(self.place), **words)

    def sync(self) -> None:
        self.powered.sync()
        self.disk.sync()

    @contextlib.contextmanager
    def after_power_cut(self) -> Iterator[tuple[Scene, Path]]:
        with self.powered.after_power_cut() as scene, self.disk.after_power_cut() as mounted:
            yield scene, mounted / self.name


@pytest.fixture(scope="module")
def disk() -> Iterator[disks.Disk]:
    disks.needs_mounts()
    with contextlib.ExitStack() as stack:
        yield disks.Disk(stack, "48M")


@pytest.fixture
def backed(powered: Powered, disk: disks.Disk, message: Callable[..., Any]) -> Iterator[Backed]:
    scene = powered.scene
    scene.announced(message(media=scene.photos(3)))
    assert scene.run("collect") == 0
    made = Backed(powered, disk, powered.name)
    made.sync()
    yield made
    shutil.rmtree(made.place)


def goes_on(scene: Scene, place: Path) -> None:
    """The next run, on what the power cut left, is good and has everything."""
    run = scene.start("back-up", target=str(place), later=LATER)
    is_good, words, _ = run.heard()
    assert (run.ended(), is_good) == (0, True), words
    assert wrong(place, complete(place)) == []
    newest = max(complete(place))
    listed = {line[66:] for line in (newest / "SHA256SUMS").read_text().splitlines()}
    assert {f"media/{row['file_path']}" for row in scene.rows()} <= listed
    assert list((place / ".incoming").iterdir()) == []


def complete(place: Path) -> list[Path]:
    """The snapshots that count."""
    return [path.parent for path in place.glob("snapshots/*/snapshot.json")]


def wrong(place: Path, snapshots: list[Path]) -> list[str]:
    """What `sha256sum --check` says of their databases and lists, as anybody may ask it."""
    said = []
    for one in snapshots:
        sums = str(one.relative_to(place) / "SHA256SUMS")
        done = subprocess.run(
            ["sha256sum", "--check", "--quiet", "--strict", sums],
            cwd=place, capture_output=True, text=True, check=False,
        )  # fmt: skip
        said += (done.stdout + done.stderr).splitlines()
        assert (done.returncode == 0) == (not said)
    return said


STEPS = [
    "backup.marked", "backup.copied", "backup.database", "storage.sealed@1", "storage.mkdir@4",
    "storage.linked@1", "storage.linked@3", "storage.placed@2", "backup.placed@1", "backup.filled",
    "backup.listed", "backup.completing", "backup.complete", "backup.compared", "backup.verified",
]  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_k67_after_a_power_cut_at_any_step_what_counts_is_whole_and_the_next_run_is_good(
    step, backed
):
    code = backed.back_up(failpoints=f"{step}=kill")
    with backed.after_power_cut() as (scene, place):
        counting = complete(place)
        broken = wrong(place, counting)
        goes_on(scene, place)

    assert code == KILLED
    assert len(counting) == (step in ("backup.complete", "backup.compared", "backup.verified"))
    assert broken == []


def test_k67_a_run_that_ended_well_is_all_there_after_a_power_cut(backed):
    assert backed.back_up() == 0

    with backed.after_power_cut() as (scene, place):
        [one] = complete(place)
        assert (one / "verified.json").exists()
        assert wrong(place, [one]) == []
        goes_on(scene, place)


@pytest.mark.parametrize("step", ["storage.linked@2", "storage.linked@4", "backup.placed@2"])
def test_k67_what_a_dead_run_linked_is_made_durable_by_the_run_that_uses_it(step, backed):
    """The one that made the name died before the folder's fsync: who trusts it owes that."""
    code = backed.back_up(failpoints=f"{step}=kill")
    used = backed.back_up(later=LATER)

    with backed.after_power_cut() as (_, place):
        counting = complete(place)
        broken = wrong(place, counting)

    assert (code, used, len(counting)) == (KILLED, 0, 1)
    assert broken == []


def test_k67_a_name_without_its_bytes_is_hashed_before_it_is_trusted(backed):
    """As a disk leaves it that lies about fsync: the names are there, the bytes are not.

    The bytes are taken here: whether the kernel wrote them by itself meanwhile is chance.
    """
    code = backed.back_up(failpoints="backup.listed=kill")

    with backed.after_power_cut() as (scene, place):
        sums = {place / "media" / row["file_path"]: row["sha256"] for row in scene.rows()}
        for path in sums:
            path.write_bytes(bytes(path.stat().st_size))
        goes_on(scene, place)
        assert {path: checks.content_hash(path) for path in sums} == sums

    assert (code, len(sums)) == (KILLED, 3)


# --- Negative controls ---------------------------------------------------------------------


@pytest.mark.parametrize("sabotage", ["no-file-fsync", "no-folder-fsync"])
def test_k67_the_suite_sees_a_snapshot_that_counts_and_is_not_whole(sabotage, backed):
    code = backed.back_up(failpoints="backup.complete=kill", sabotage=(sabotage,))

    with backed.after_power_cut() as (_, place):
        is_whole = bool(complete(place)) and not wrong(place, complete(place))

    assert code == KILLED
    assert not is_whole
