"""`viewer verify`: every wrong path is named, and the exit status tells."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.support.damage import harm
from viewer import commands
from viewer.extensions import db
from viewer.storage import Unavailable
from viewer.upkeep.verify import presence


@pytest.fixture
def command(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def run(*words: str) -> Result:
        db.session.commit()
        for name, value in settings.items():
            monkeypatch.setenv(name, str(value))
        return CliRunner().invoke(commands.viewer, ["verify", *words])

    return run


def test_all_is_well(photos, command):
    done = command("--all")

    assert done.exit_code == 0, done.output
    assert "3 originals looked at, 3 of them read." in done.output


def test_each_wrong_path_is_named_and_the_status_is_1(photos, command, root):
    harm(root / photos[0].file_path, "flipped")
    harm(root / photos[1].file_path, "missing")

    done = command("--all")

    assert done.exit_code == 1
    assert f"different: {photos[0].file_path}\n" in done.output
    assert f"missing: {photos[1].file_path}\n" in done.output
    assert photos[2].file_path not in done.output
    assert "2 still damaged" in done.output
    assert command().exit_code == 1  # until they are repaired


def test_a_file_without_a_row_is_named_and_no_fault(photos, command, root):
    (root / "2026" / "stray.jpg").write_bytes(b"x")

    done = command()

    assert (done.exit_code, "no row names it: 2026/stray.jpg" in done.output) == (0, True)


def test_where_the_disk_is_not_mounted_the_status_is_2(photos, command, root):
    root.rename(root.with_name("unmounted"))

    done = command()

    assert (done.exit_code, "is its disk mounted?" in done.output) == (2, True)


def test_where_a_folder_cannot_be_read_the_status_is_2(photos, command, root, monkeypatch):
    def unreadable(*_words: object) -> object:
        raise Unavailable("The disk for photos reports errors.")

    monkeypatch.setattr(presence, "compare", unreadable)
    done = command()

    assert (done.exit_code, "The disk for photos reports errors." in done.output) == (2, True)


def test_a_store_that_this_host_does_not_have_is_refused(photos, command):
    done = command("--store", str(uuid.uuid4()))

    assert (done.exit_code, "This host has no store" in done.output) == (2, True)
