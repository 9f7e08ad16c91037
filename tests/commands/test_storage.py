"""`viewer storage list | join | lost | move`, as an administrator uses them."""

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from tests.support import object_stores
from tests.support.damage import harm
from tests.support.object_stores import ObjectStore
from tests.support.pictures import picture
from tests.support.stored_files import keep, other_store, path_of, photos, row
from viewer import commands, holdings
from viewer.commands.storage import LEASE
from viewer.extensions import db
from viewer.models import RegisteredStore
from viewer.upkeep import identity, lease

pytestmark = pytest.mark.on_folder("names its stores itself")

Say = Callable[..., Result]


@pytest.fixture
def settings(settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return settings | object_stores.SETTINGS | {"MEDIA_ROOT": str(tmp_path / "media")}


@pytest.fixture
def say(app: Any, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Say:
    """Run `viewer storage …` beside the viewer that runs."""
    identity.ensure()
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))

    def run(*words: str, answer: str = "") -> Result:
        db.session.commit()
        return CliRunner().invoke(commands.viewer, ["storage", *words], input=answer)

    return run


@pytest.fixture
def url(object_store: ObjectStore, shared_bucket: str) -> str:
    return object_store.address(shared_bucket, f"commands/{uuid.uuid4()}")


@pytest.fixture
def stored(app: Any) -> list[Any]:
    made = [keep(picture(120 + number, 80), with_copies=True) for number in range(3)]
    db.session.commit()
    return made


def test_files_move_and_the_list_says_where_they_are(stored, say, url):
    done = say("move", "--to", url)
    listed = say("list")

    assert (done.exit_code, done.stdout.splitlines()[0]) == (
        0, f"{url}: 3 files to move (0.0 MB)",
    )  # fmt: skip
    assert done.stdout.splitlines()[-1].startswith("3 files moved (")
    assert {media.storage for media in photos()} == {_wanted()}
    assert listed.exit_code == 0
    lines = listed.stdout.splitlines()
    here, there = (lines.index(f"{one}  {_address(one)}") for one in (holdings.own_id(), _wanted()))
    assert "    3 moved on, and are still here, too" in lines[here:there]
    assert "    new files go there" in lines[there:]


def _wanted() -> uuid.UUID:
    found = db.session.scalars(sa.select(RegisteredStore.id).filter_by(is_wanted=True)).one()
    db.session.commit()
    return found


def _address(identity: uuid.UUID) -> str:
    return db.session.get_one(RegisteredStore, identity).address or ""


def test_a_dry_run_tries_counts_and_changes_nothing(stored, say, url, object_store, shared_bucket):
    done = say("move", "--to", url, "--dry-run")

    assert (done.exit_code, done.stdout) == (0, f"{url}: 3 files to move (0.0 MB)\n")
    assert {media.storage for media in photos()} == {holdings.own_id()}
    assert db.session.scalar(sa.select(sa.func.count(RegisteredStore.id))) == 1
    prefix = url.partition("?")[0].removeprefix(f"s3://{shared_bucket}/")
    left = object_store.client.list_objects_v2(Bucket=shared_bucket, Prefix=prefix)
    assert left.get("KeyCount", 0) == 0


def test_what_could_not_be_moved_is_named(stored, say, url):
    harm(path_of(stored[1]), "flipped")

    done = say("move", "--to", url)

    assert done.exit_code == 1
    assert f"  damaged: {stored[1].file_path}\n" in done.stdout
    assert "2 files moved" in done.stdout
    assert "1 damaged, and left where they are" in done.stdout


def test_a_target_that_cannot_be_is_refused_in_one_line(stored, say, object_store):
    done = say("move", "--to", object_store.address("no-such-bucket-here"))

    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("viewer: s3://no-such-bucket-here")


def test_two_moves_at_once_are_kept_apart(stored, say, url):
    with lease.held("move", "Another move", LEASE):
        done = say("move", "--to", url)

    assert done.exit_code == 2
    assert done.stderr.startswith("viewer: Another move is running.")
    assert {media.storage for media in photos()} == {holdings.own_id()}


def test_a_lost_store_is_given_up_only_after_a_yes(say, tmp_path):
    second = other_store(tmp_path / "second").id
    media = keep(picture(80, 60), with_copies=True)
    holdings.move(media.id, second)
    shutil.rmtree(tmp_path / "second")

    no = say("lost", str(second), answer="n\n")
    still = row(media.id).storage
    yes = say("lost", str(second), answer="y\n")

    assert (no.exit_code, still) == (1, second)
    assert "1 file still in the store before it, 0 to be brought back" in no.stdout
    assert (yes.exit_code, row(media.id).storage) == (0, holdings.own_id())
    assert "0 files brought back, 0 found nowhere" in yes.stdout


def test_what_is_found_nowhere_is_said(say, tmp_path):
    second = other_store(tmp_path / "second").id
    media = keep(picture(80, 60))
    holdings.move(media.id, second)
    holdings.clear_former(media.id, row(media.id).moved_at.replace(year=2100))
    shutil.rmtree(tmp_path / "second")

    done = say("lost", str(second), "--yes")

    assert (done.exit_code, row(media.id).is_damaged) == (1, True)
    assert "0 files brought back, 1 found nowhere" in done.stdout


def test_a_store_that_nobody_knows_is_refused(say):
    done = say("lost", str(uuid.uuid4()), "--yes")

    assert done.exit_code == 1
    assert "viewer storage list" in str(done.exception)


def test_the_folder_of_a_further_host_joins_and_an_unmounted_one_does_not(
    say, tmp_path, monkeypatch
):
    monkeypatch.setenv("MEDIA_ROOT", str(tmp_path / "second"))
    monkeypatch.setattr(identity.socket, "gethostname", lambda: "second.example")

    joined = say("join")
    again = say("join")
    shutil.rmtree(tmp_path / "second")  # as where the disk is not mounted
    unmounted = say("join")

    assert (joined.exit_code, again.exit_code, unmounted.exit_code) == (0, 1, 1)
    assert joined.stdout.endswith("of second.example\n")
    assert "is this viewer's already" in str(again.exception)
    assert "Is its disk mounted?" in str(unmounted.exception)
