"""A drill proves a target of every kind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from tests.support.pictures import noise
from tests.upkeep.backup.conftest import overwrite
from tests.upkeep.backup.kinds import Kind, access
from tests.upkeep.backup.kinds import kind as kind
from tests.upkeep.backup.kinds import password as password
from tests.upkeep.backup.kinds import repository as repository
from viewer.upkeep import runs
from viewer.upkeep.backup import record
from viewer.upkeep.drill import run
from viewer.upkeep.drill.run import Result

pytestmark = pytest.mark.proof


@pytest.fixture
def settings(request, settings):
    wanted = settings | access(request)
    if "restic" in request.node.name:
        wanted["RESTIC_PASSWORD_FILE"] = request.getfixturevalue("password")
    return wanted


@pytest.fixture
def prove(app: Flask, programs: None) -> Callable[[str], Result]:
    """Back up there, and drill."""

    def prove(url: str) -> Result:
        assert record.back_up(url, same_filesystem=True).is_good
        return run.drill(url)

    return prove


def test_a_backup_of_each_kind_is_proven_by_a_drill(keep, kind: Kind, prove):
    for number in range(3):
        keep(noise(60, 50, number))

    result = prove(kind.url)

    assert result.words.startswith("Snapshot 1 restored: 3 originals in the backup, 3 of them")
    assert (result.is_good, result.snapshot, result.counts["fetched"]) == (True, 1, 3)


def test_a_wrong_byte_in_each_kind_is_red(keep, kind: Kind, prove):
    media = keep(noise(60, 50, 1))
    assert prove(kind.url).is_good

    kind.overwrite(f"media/{media.file_path}", noise(60, 50, 2))

    assert not run.drill(kind.url).is_good


def test_a_repository_of_restic_is_proven_by_a_drill(keep, repository: Path, prove, tmp_path):
    for number in range(3):
        keep(noise(60, 50, number))
    unproven = run.drill(f"restic:{repository}")

    result = prove(f"restic:{repository}")

    assert (unproven.is_good, "no verified snapshot" in unproven.words) == (False, True)
    assert result.words.startswith("Snapshot 1 restored: 3 originals in the backup, 3 of them")
    assert runs.latest(runs.Kind.DRILL, f"restic:{repository}").snapshot == 1
    assert not (tmp_path / "data" / "drill").exists()


def test_a_damaged_repository_of_restic_is_red(keep, repository: Path, prove):
    keep(noise(200, 200, 1))
    assert prove(f"restic:{repository}").is_good
    for pack in (repository / "data").glob("*/*"):
        overwrite(pack, bytes(pack.stat().st_size))

    assert not run.drill(f"restic:{repository}").is_good
