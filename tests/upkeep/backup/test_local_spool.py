"""Files on their way to a target that is elsewhere lie where this user alone can reach them."""

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.children import in_child
from viewer.upkeep.backup.targets import local_spool
from viewer.upkeep.backup.targets.place import Refused

NOBODY = 65534


def test_it_is_in_the_folder_of_the_viewer_for_its_user_alone(app, settings):
    found = local_spool.folder()

    assert found == settings["DATA_DIR"] / "backup-spool"
    assert stat.S_IMODE(found.stat().st_mode) == 0o700


def test_one_that_somebody_else_put_there_is_refused(app, settings, tmp_path):
    (settings["DATA_DIR"] / "backup-spool").symlink_to(tmp_path)

    with pytest.raises(Refused, match=r"belongs to another user|cannot be made"):
        local_spool.folder()


@pytest.mark.proof
def test_a_second_user_without_rights_there_has_one_of_its_own(app, settings, stack, monkeypatch):
    if os.getuid():
        pytest.skip("needs root")
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
    place.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(place))

    in_child(_as_nobody(lambda: local_spool.folder().joinpath("left").touch()))

    [made] = place.iterdir()
    assert (made.name, made.stat().st_uid) == (f"viewer-backup-{NOBODY}", NOBODY)
    assert (made / "left").exists()


def _as_nobody(work: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        work()

    return run
