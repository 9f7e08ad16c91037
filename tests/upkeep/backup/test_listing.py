"""The lists of a run are on the disk, however long, and gone with it."""

from contextlib import closing
from pathlib import Path

import pytest

from tests.upkeep.backup.conftest import At
from viewer.upkeep.backup.listing import Listing


def test_a_list_has_no_name_that_a_killed_process_could_leave(keep, back_up, tmp_path):
    keep()
    seen = []

    assert back_up(progress=At("copying", lambda: seen.extend(names(tmp_path / "data")))).is_good

    assert [name for name in seen if name.startswith(".backup")] == []
    assert open_lists() == []


def test_a_list_is_no_memory_of_ours(app):
    """Some builds of SQLite keep their temporary databases in memory, whole."""
    with closing(Listing()) as listing:
        listing.read_known((f"2026/09/21/{number}.jpg", "0" * 64) for number in range(20_000))
        [size] = open_lists()

    assert size > 20_000 * 64


@pytest.mark.proof
def test_a_million_keys_take_little_memory(app):
    with closing(Listing()) as listing:
        before = resident()
        listing.read_known((f"2026/09/21/{number}.jpg", "0" * 64) for number in range(1_000_000))
        assert listing.count_known() == 1_000_000
        after = resident()

    assert after - before < 40  # MB, of some 100 that the list has


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def open_lists() -> list[int]:
    """The bytes of each file of a list that this process has open; none has a name."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        if descriptor.is_symlink() and "/.backup-" in str(descriptor.readlink()):
            assert str(descriptor.readlink()).endswith(" (deleted)")
            found.append(descriptor.stat().st_size)
    return found


def resident() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
