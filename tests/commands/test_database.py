"""`viewer db upgrade`, and the migration that `viewer up` begins with: a copy comes first."""

import stat
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from tests.commands.conftest import assert_refused
from viewer import create_app, host_lock
from viewer.extensions import db, sqlite
from viewer.upkeep import snapshots

MIGRATIONS = Path(__file__).parent.parent.parent / "migrations"


@pytest.fixture
def old(tmp_path: Path) -> Callable[..., Path]:
    """A database of an earlier version, with a mark in it."""

    def make(revision: str = "0013") -> Path:
        app = create_app({"DATA_DIR": tmp_path / "var"})
        with app.app_context():
            flask_migrate.upgrade(revision=revision)
            db.session.execute(sa.text("CREATE TABLE mark (words TEXT)"))
            db.session.execute(sa.text("INSERT INTO mark VALUES ('kept')"))
            db.session.commit()
            db.engine.dispose()
        return tmp_path / "var" / "viewer.db"

    return make


def ask(path: Path, query: str) -> list[Any]:
    with closing(sqlite.connect(path)) as connection:
        return [row[0] for row in connection.execute(query)]


def version_of(path: Path) -> str:
    [found] = ask(path, "SELECT version_num FROM alembic_version")
    return str(found)


def newest() -> str:
    found = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    assert found
    return found


def copies(folder: Path) -> list[Path]:
    return sorted((folder / "snapshots").glob("*"))


def test_a_new_database_is_made_without_a_copy(console, tmp_path):
    done = console("db", "upgrade")

    assert (done.returncode, done.stdout) == (0, f"The database is at version {newest()} now\n")
    assert version_of(tmp_path / "var" / "viewer.db") == newest()
    assert copies(tmp_path / "var") == []


def test_an_old_database_is_copied_and_then_migrated(old, console, tmp_path):
    path = old()

    first, second = console("db", "upgrade"), console("db", "upgrade")

    [copy] = copies(tmp_path / "var")
    assert copy.name.startswith("viewer-0013-20")
    assert str(copy) in first.stderr
    assert first.stdout.endswith(" now\n")
    assert version_of(path) == newest()
    assert version_of(copy) == "0013"
    assert ask(copy, "SELECT words FROM mark") == ["kept"]
    assert ask(copy, "PRAGMA integrity_check") == ["ok"]
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout.endswith(" already\n")


def test_without_room_for_the_copy_nothing_is_migrated(old, console, tmp_path):
    path = old()
    (tmp_path / "var" / "snapshots").write_text("in the way")

    done = console("db", "upgrade")

    assert_refused(done, f"no copy of the database could be made in {tmp_path}/var/snapshots")
    assert version_of(path) == "0013"


def test_the_first_user_may_come_before_the_first_start(console, tmp_path):
    words = ("user", "add", "olivia@crack.example", "--role", "owner", "--password-stdin")

    done = console(*words, typed="a crack in the wall\n")

    assert done.returncode == 0, done.stderr
    assert done.stdout == "olivia@crack.example is a user with the role owner\n"
    assert done.stderr == f"New installation: DATA_DIR {tmp_path}/var was empty.\n"
    assert "olivia@crack.example" in console("user", "list").stdout


def test_a_user_is_not_added_to_an_old_database(old, console, tmp_path):
    path = old()

    done = console("user", "add", "a@crack.example", "--password-stdin", typed="a crack in it\n")

    assert_refused(done, "at version 0013", "migrate with: viewer db upgrade")
    assert version_of(path) == "0013"
    assert copies(tmp_path / "var") == []


def test_a_database_of_newer_code_is_refused_and_not_touched(old, console, port, tmp_path):
    path = old()
    with closing(sqlite.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    for words in (("db", "upgrade"), ("up", "--port", port), ("user", "list")):
        assert_refused(console(*words), "at version 9999, which this code does not know")
    assert copies(tmp_path / "var") == []


def test_nothing_is_migrated_under_a_viewer_that_runs(old, console, tmp_path):
    path = old()

    with host_lock.hold(tmp_path / "var"):
        assert_refused(console("db", "upgrade"), "is in use by another viewer")

    assert version_of(path) == "0013"


@pytest.mark.on_sqlite("copies its file")
def test_the_last_three_versions_are_kept_one_copy_of_each(app, tmp_path, time_machine_at):
    folder = tmp_path / "snapshots"
    folder.mkdir()
    (folder / "viewer-0001-20250101T000000Z.part").write_text("of one that died")
    (folder / "mine.db").write_text("a person's own")

    taken = []
    for day, revision in enumerate(["0001", "0002", "0003", "0004", "0004"], 1):
        with time_machine_at(datetime(2026, 7, day, tzinfo=UTC)):
            taken.append(snapshots.take_snapshot(tmp_path, revision))

    assert copies(tmp_path) == sorted([folder / "mine.db", taken[1], taken[2], taken[4]])
    assert taken[4].name == "viewer-0004-20260705T000000Z.db"
