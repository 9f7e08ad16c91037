"""`viewer backup` says how it went, in words and by its exit status."""

import pytest
from click.testing import CliRunner

from tests.support import stored_files
from viewer.commands import viewer

pytestmark = [
    pytest.mark.on_sqlite("reads what the backup of a SQLite file holds"),
    pytest.mark.on_folder("changes the files on their disk"),
]


@pytest.fixture
def place(tmp_path):
    return tmp_path / "backup"


@pytest.fixture
def run(app, settings, tmp_path, monkeypatch):
    """The command, as a shell would run it beside this viewer."""
    (tmp_path / "photos").mkdir(exist_ok=True)
    for name in ("DATA_DIR", "MEDIA_ROOT", "DATABASE_URL", "REDIS_URL", "SECRET_KEY"):
        monkeypatch.setenv(name, str(settings[name]))
    return lambda *words: CliRunner().invoke(viewer, ["backup", *words])


@pytest.fixture
def settings(settings, tmp_path):
    for name in ("data", "photos"):
        (tmp_path / name).mkdir()
    return settings | {"DATA_DIR": tmp_path / "data", "MEDIA_ROOT": tmp_path / "photos"}


def test_a_good_backup_exits_with_0_and_says_what_it_covers(run, place):
    stored_files.keep(b"a crack")

    done = run("--to", str(place), "--same-filesystem")

    assert (done.exit_code, done.stdout) == (
        0,
        f"{place}: Snapshot 1: 1 original (0.0 MB) covered, 1 new.\n",
    )


def test_a_bad_one_exits_with_1(run, place, tmp_path):
    media = stored_files.keep(b"a crack")
    (tmp_path / "photos" / media.file_path).unlink()

    done = run("--to", str(place), "--same-filesystem")

    assert done.exit_code == 1
    assert media.file_path in done.stderr


def test_a_change_that_is_accepted_exits_with_0(run, place, tmp_path):
    stored_files.keep(b"stays")
    media = stored_files.keep(b"a crack")
    (tmp_path / "photos" / media.file_path).unlink()

    done = run("--to", str(place), "--same-filesystem", "--accept-changes")

    assert done.exit_code == 0
    assert "1 damaged file without a right copy anywhere." in done.stdout


def test_pruning_alone_accepts_nothing(run, place):
    assert run("--to", str(place), "--accept-changes", "--prune-only").exit_code == 2


def test_a_refused_one_exits_with_2(run, place):
    done = run("--to", str(place))

    assert done.exit_code == 2
    assert "one broken disk would take both" in done.stderr
    assert not place.exists()


@pytest.mark.parametrize("words", [(), ("--to", "ftp://host/backup")])
def test_without_a_target_there_is_nothing_to_do(words, run):
    assert run(*words).exit_code == 2


def test_without_a_name_it_backs_up_to_each_target_of_the_settings(run, place, monkeypatch):
    monkeypatch.setenv("BACKUP_TARGETS", f"{place}-1,{place}-2")
    stored_files.keep(b"a crack")

    done = run("--same-filesystem")

    assert (done.exit_code, done.stdout.count("1 original")) == (0, 2)


def test_prune_only_says_what_went(run, place):
    stored_files.keep(b"a crack")
    run("--to", str(place), "--same-filesystem")

    done = run("--to", str(place), "--same-filesystem", "--prune-only")

    assert (done.exit_code, done.stdout) == (0, f"{place}: 0 snapshots and 0 files removed\n")
