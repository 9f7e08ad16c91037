"""Rows 57 and 130: nothing is written to a disk that is not the one we know."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import factories
from viewer import create_app, holdings
from viewer.extensions import db
from viewer.models import MediaAttachment, RegisteredStore
from viewer.storage import Unavailable
from viewer.storage.store import MARKER
from viewer.upkeep import health, identity


@pytest.fixture
def is_started() -> bool:
    return False


def start_again(settings):
    app = create_app(settings)
    with app.app_context():
        identity.ensure()


def test_a_first_start_marks_an_empty_folder_and_later_starts_know_it(app, settings):
    identity.ensure()
    first = holdings.own().identity()

    start_again(settings)

    assert holdings.own().identity() == first


def test_a_first_start_that_died_before_its_commit_is_finished_by_the_next(app, settings):
    db.session.add(RegisteredStore())
    db.session.commit()

    start_again(settings)

    assert str(db.session.query(RegisteredStore).one().id) == holdings.own().identity()


def test_a_first_start_that_died_while_it_marked_the_folder_is_finished_by_the_next(
    app, settings, tmp_path, monkeypatch
):
    class Died(BaseException):
        pass

    def die(place: str) -> None:
        if place == "storage.marking":
            raise Died

    with monkeypatch.context() as dying:
        dying.setattr("viewer.storage.folder.failpoint", die)
        with pytest.raises(Died):
            identity.ensure()
    db.session.rollback()
    assert holdings.own().identity() is None

    start_again(settings)

    assert str(db.session.query(RegisteredStore).one().id) == holdings.own().identity()
    assert [path.name for path in (tmp_path / "media").iterdir()] == [".viewer-store"]


def test_an_empty_mount_point_stops_the_start(
    app, settings, tmp_path, deliver, message, provider, work
):
    identity.ensure()
    deliver(message(media=[provider.serve(b"GIF89a" + bytes(100))]).payload())
    work()
    shutil.rmtree(tmp_path / "media")
    (tmp_path / "media").mkdir()

    with pytest.raises(identity.WrongStore, match="mounted"):
        start_again(settings)


def test_another_databases_folder_stops_the_start(app, settings, tmp_path):
    identity.ensure()
    (tmp_path / "other").mkdir()

    with pytest.raises(identity.WrongStore, match="another"):
        create_app_with_empty_database(settings, tmp_path)


def create_app_with_empty_database(settings, tmp_path):
    copy = tmp_path / "fresh.db"
    migrated = create_app(settings | {"DATABASE_URL": f"sqlite:///{copy}"})
    with migrated.app_context():
        db.create_all()
        identity.ensure()


def test_a_folder_with_files_that_nobody_knows_is_not_taken_over(app, tmp_path):
    (tmp_path / "media" / "2020").mkdir(parents=True)

    with pytest.raises(identity.WrongStore):
        identity.ensure()


def test_a_disk_that_goes_away_gets_nothing_and_a_photo_waits_for_it(
    app, tmp_path, deliver, message, provider, work, client
):
    identity.ensure()
    marker = tmp_path / "media" / ".viewer-store"
    said = marker.read_text()
    marker.unlink()  # what an unmounted disk looks like from here
    answer = deliver(message(media=[provider.serve(b"GIF89a" + bytes(100))]).payload())
    work()
    waiting = db.session.query(MediaAttachment).one()
    alarms = {alarm.name for alarm in health.read_health({}).alarms}

    assert answer.status_code == 204
    assert (waiting.state, waiting.failures) == (MediaAttachment.State.PENDING, 0)
    assert "mounted" in waiting.problem
    assert "store_away" in alarms
    assert list((tmp_path / "media").rglob("*")) == []
    marker.write_text(said)
    holdings.own().expect("another")
    with pytest.raises(Unavailable):
        holdings.spool().new_part()


def test_a_photo_on_a_disk_that_is_away_is_not_called_missing(
    app, tmp_path, deliver, message, provider, work, client
):
    identity.ensure()
    deliver(message(media=[provider.serve(b"GIF89a" + bytes(100))]).payload())
    work()
    media = db.session.query(MediaAttachment).one()
    shutil.move(tmp_path / "media", tmp_path / "elsewhere")

    away = client.get(f"/media/{media.id}").status_code
    shutil.move(tmp_path / "elsewhere", tmp_path / "media")

    assert (away, client.get(f"/media/{media.id}").status_code) == (503, 200)


@pytest.mark.parametrize("kind", ["a file", "read-only", "a loop"])
def test_a_folder_that_cannot_be_used_stops_the_start_with_a_sentence(
    kind, app, tmp_path, monkeypatch
):
    media = tmp_path / "media"
    if kind == "a file":
        media.write_text("x")
    elif kind == "a loop":
        media.symlink_to(media)
    else:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(Path, "mkdir", refuse)  # root may write anywhere but there

    with pytest.raises(identity.UnusableStore) as problem:
        identity.ensure()

    assert str(problem.value).startswith(f"MEDIA_ROOT: {media} cannot be used: ")
    assert str(problem.value).count("\n") == 0
    if kind == "read-only":
        assert str(problem.value).endswith("Read-only file system")
        monkeypatch.undo()
        identity.ensure()  # once it may be written to
        assert holdings.own().identity() is not None


def test_the_command_says_it_in_one_line(app, settings, tmp_path):
    identity.ensure()
    (tmp_path / "media" / ".viewer-store").unlink()
    (tmp_path / "media" / "2020").mkdir()

    said = subprocess.run(
        [sys.executable, "-m", "viewer", "work", "--burst"],
        env={"DATA_DIR": str(tmp_path), "DATABASE_URL": settings["DATABASE_URL"], "PATH": "/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert said.returncode == 1
    assert "is its disk mounted?" in said.stderr.splitlines()[-1]
    assert "Traceback" not in said.stderr


# --- A further host ------------------------------------------------------------------------


@pytest.fixture
def second(app, settings, tmp_path, monkeypatch):
    """An application on a second host, with an empty folder, beside a first that has photos."""
    identity.ensure()
    factories.files(factories.text(factories.customer()))
    monkeypatch.setattr(identity.socket, "gethostname", lambda: "second")
    return create_app(settings | {"MEDIA_ROOT": str(tmp_path / "second")})


def test_a_further_host_joins_with_its_empty_folder(second, app):
    first = holdings.own_id()

    with second.app_context():
        with pytest.raises(identity.WrongStore, match="viewer storage join"):
            identity.ensure()
        row = identity.join()
        identity.ensure()

        assert (row.host, holdings.own_id()) == ("second", row.id)
        assert row.id != first
    assert holdings.own_id() == first


def test_k65_an_unmounted_disk_joins_as_nothing(second, tmp_path):
    with second.app_context():
        identity.join()
        (tmp_path / "second" / MARKER).unlink()  # as an empty mount point looks

        with pytest.raises(identity.WrongStore, match="Is its disk mounted"):
            identity.join()
        with pytest.raises(identity.WrongStore, match="has no marker"):
            identity.ensure()


def test_a_folder_with_files_does_not_join(second, tmp_path):
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "file").write_text("somebody's")

    with second.app_context(), pytest.raises(identity.WrongStore, match="is not empty"):
        identity.join()


def test_two_hosts_know_each_their_own_folder_without_asking_twice(second, settings):
    with second.app_context():
        identity.join()
    first = create_app(settings)

    with first.app_context():
        assert str(holdings.own_id()) == holdings.unproven().identity()
