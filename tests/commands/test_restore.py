"""`viewer restore` in a shell: from a target alone to a viewer that starts."""

import shutil
from pathlib import Path

import pytest

from tests.support import stored_files
from tests.support.pictures import noise
from tests.upkeep.backup.conftest import overwrite
from viewer.upkeep.backup import record

pytestmark = [
    pytest.mark.on_sqlite("reads what the backup of a SQLite file holds"),
    pytest.mark.on_folder("changes the files on their disk"),
]


@pytest.fixture
def settings(settings, tmp_path):
    for name in ("data", "photos"):
        (tmp_path / "old" / name).mkdir(parents=True)
    return settings | {
        "DATA_DIR": tmp_path / "old" / "data",
        "MEDIA_ROOT": tmp_path / "old" / "photos",
    }


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def kept(app, place):
    """Three photos, and a backup of them."""
    made = [stored_files.keep(noise(60, 50, number)) for number in range(3)]
    assert record.back_up(f"folder:{place}", same_filesystem=True).is_good
    return made


def test_k51_an_empty_machine_becomes_the_viewer_it_was(kept, console, place, tmp_path):
    done = console("restore", "--from", str(place))

    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith("Snapshot 1 of ")
    assert "3 of 3 originals (0.0 MB) there after" in first
    assert rest[0].endswith("Set QUO_API_KEY for that.")
    assert "share links are as they were then" in rest[1]
    checked = console("verify", "--all")
    assert checked.returncode == 0, checked.stderr
    assert "3 originals looked at, 3 of them read." in checked.stdout
    assert sorted(path.name for path in (tmp_path / "var").iterdir()) == [
        "media", "parts.lock", "secret_key", "use.lock", "viewer.db", "viewer.lock",
    ]  # fmt: skip


@pytest.mark.proof
def test_a_second_time_it_is_refused(kept, console, place):
    assert console("restore", "--from", str(place)).returncode == 0

    done = console("restore", "--from", str(place))

    assert done.returncode == 2
    assert done.stderr.startswith("viewer: The database is not empty.")
    assert "--only-missing" in done.stderr


@pytest.mark.proof
def test_something_missing_exits_with_1_and_is_named(kept, console, place):
    overwrite(place / "media" / kept[0].file_path, b"flipped")

    done = console("restore", "--from", str(place))

    assert done.returncode == 1
    assert "2 of 3 originals" in done.stdout
    assert f"  wrong in the backup: {kept[0].file_path}" in done.stdout


@pytest.mark.proof
def test_only_missing_brings_back_what_a_viewer_lost(kept, console, place, tmp_path):
    console("restore", "--from", str(place))
    shutil.rmtree(tmp_path / "var" / "media" / "2026")

    done = console("restore", "--from", str(place), "--only-missing")

    assert (done.returncode, done.stdout) == (0, "3 originals read, 3 brought back.\n")
    assert console("verify", "--all").returncode == 0


@pytest.mark.proof
def test_a_new_disk_for_the_photos(kept, console, place, tmp_path):
    console("restore", "--from", str(place))
    shutil.rmtree(tmp_path / "var" / "media")
    (tmp_path / "var" / "media").mkdir()
    refused = console("restore", "--from", str(place), "--only-missing")

    done = console("restore", "--from", str(place), "--only-missing", "--new-disk")

    assert (refused.returncode, "no marker" in refused.stderr) == (2, True)
    assert (done.returncode, done.stdout) == (0, "3 originals read, 3 brought back.\n")


@pytest.mark.proof
def test_only_the_database_is_lost(kept, console, place, tmp_path):
    console("restore", "--from", str(place))
    (tmp_path / "var" / "viewer.db").unlink()
    refused = console("restore", "--from", str(place))

    done = console("restore", "--from", str(place), "--keep-files")

    assert (refused.returncode, "--keep-files" in refused.stderr) == (2, True)
    assert done.returncode == 0, done.stderr
    assert console("verify", "--all").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "/nowhere/at/all"), "is no backup"),
        (("--from", "ftp://host/backup"), "backs up to folder"),
        (("--from", "/x", "--only-missing", "--snapshot", "3"), "--only-missing goes with"),
        (("--from", "/x", "--new-disk"), "--new-disk goes with"),
        ((), "--from"),
    ],
)
@pytest.mark.proof
def test_what_cannot_be_is_refused_with_2(words, said, console):
    done = console("restore", *words)

    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.proof
def test_a_drill_proves_the_backup_or_is_red(kept, console, place, tmp_path):
    console("restore", "--from", str(place))

    proven = console("drill", "--from", str(place))
    overwrite(place / "media" / kept[0].file_path, b"flipped")
    red = console("drill", "--from", str(place), "--full")

    assert (proven.returncode, "3 of them opened and right" in proven.stdout) == (0, True)
    assert red.returncode == 1
    assert f"wrong in the backup: {kept[0].file_path}" in red.stderr
    assert console("drill").returncode == 2  # there is no target
    assert not (tmp_path / "var" / "drill").exists()
