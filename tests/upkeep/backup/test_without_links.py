"""A target on exFAT, as many USB disks have it: without hard links."""

from datetime import timedelta

import pytest

from tests.support.children import in_child
from tests.support.file_systems import without_hard_links
from tests.upkeep.backup.conftest import checked_by_sha256sum, hash_of, overwrite
from viewer import failpoint
from viewer.extensions import now
from viewer.storage import disk
from viewer.upkeep.backup import retention


def test_a_target_without_hard_links_is_as_good(
    keep, back_up, place, found, monkeypatch, tmp_path, time_machine_at
):
    """Also where something has to be set aside, and is pruned."""
    without_hard_links(monkeypatch)
    monkeypatch.setattr(retention, "RULES", ())  # the last three alone
    kept = [keep(f"photo {number}".encode()) for number in range(3)]
    begin = now()

    for day in range(5):
        if day == 3:
            overwrite(place / "media" / kept[0].file_path, b"cut")
        with time_machine_at(begin + timedelta(days=day)):
            result = back_up()
        assert result.is_good, result.words

    assert [one.number for one in found().complete] == [3, 4, 5]
    assert [hash_of(place / "media" / one.file_path) for one in kept] == [
        one.sha256 for one in kept
    ]
    assert [path.read_bytes() for path in place.glob("quarantine/**/*.*") if path.is_file()] == [
        b"cut"
    ]
    assert list((place / ".incoming").iterdir()) == []
    checked_by_sha256sum(place)


@pytest.mark.proof
@pytest.mark.parametrize(
    "step", ["storage.marking", "storage.linked@1", "storage.linked@3", "backup.completing"]
)
def test_a_run_that_is_killed_without_hard_links_leaves_nothing_half(
    step, keep, back_up, place, monkeypatch, time_machine_at
):
    without_hard_links(monkeypatch)
    kept = [keep(f"photo {number}".encode()) for number in range(3)]
    with monkeypatch.context() as patched:
        patched.setenv(failpoint.VARIABLE, f"{step}=kill")
        in_child(back_up, expected=-9)
    there = {path.name: hash_of(path) for path in place.glob("media/**/*.*") if path.is_file()}
    assert set(there.values()) <= {one.sha256 for one in kept}

    with time_machine_at(now() + timedelta(days=1)):
        assert back_up().is_good

    checked_by_sha256sum(place)
    assert list((place / ".incoming").iterdir()) == []


def test_where_a_name_may_replace_another_nothing_is_backed_up(keep, back_up, place, monkeypatch):
    keep()
    without_hard_links(monkeypatch)
    monkeypatch.setattr(disk, "_renameat2", None)

    result = back_up()

    assert result.has_failed
    assert result.words == (
        "The file system of the target cannot name a file without replacing another."
    )
