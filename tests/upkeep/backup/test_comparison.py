"""What changed in the target between two runs is noticed, and healed where the source is right."""

import os
from datetime import date, timedelta

import pytest

from tests.upkeep.backup.conftest import At, checked_by_sha256sum, hash_of, newest, overwrite
from viewer.extensions import now
from viewer.upkeep.backup import comparison
from viewer.upkeep.backup.listing import SLICES, slice_of


def test_k66_a_file_that_vanished_from_the_pool_is_written_again(keep, back_up, place):
    media = keep(b"right")
    back_up()
    (place / "media" / media.file_path).unlink()

    result = back_up()

    assert (result.is_good, result.counts["healed"]) == (True, 1)
    assert "1 file of the target written again" in result.words
    assert hash_of(place / "media" / media.file_path) == media.sha256


def test_k66_a_file_of_another_size_is_replaced_and_the_wrong_bytes_are_kept(keep, back_up, place):
    media = keep(b"right")
    back_up()
    overwrite(place / "media" / media.file_path, b"cut")

    result = back_up()

    assert (result.is_good, result.counts["healed"]) == (True, 1)
    assert hash_of(place / "media" / media.file_path) == media.sha256
    [aside] = [path for path in place.glob("quarantine/**/*.*") if path.is_file()]
    assert aside.read_bytes() == b"cut"
    checked_by_sha256sum(place)


@pytest.mark.proof
def test_k66_a_flipped_bit_is_found_within_thirty_days_and_healed(
    keep, back_up, place, time_machine_at
):
    media = keep(b"right")
    back_up()
    overwrite(place / "media" / media.file_path, b"ri\x67it"[:5])
    healed = []

    begin = now()
    for day in range(1, SLICES + 1):
        with time_machine_at(begin + timedelta(days=day)):
            healed.append(back_up().counts["healed"])

    assert sum(healed) == 1
    assert hash_of(place / "media" / media.file_path) == media.sha256


def test_k43_a_flipped_bit_whose_source_is_gone_makes_the_run_bad(
    keep, back_up, place, tmp_path, time_machine_at
):
    media = keep(b"right")
    back_up()
    overwrite(place / "media" / media.file_path, b"wrong")
    (tmp_path / "photos" / media.file_path).unlink()

    with time_machine_at(now() + timedelta(days=SLICES)):
        result = back_up()

    assert not result.is_good
    assert f"1 file not right in the target: {media.file_path}" in result.words
    assert not (place / "media" / media.file_path).exists()
    [aside] = [path for path in place.glob("quarantine/**/*.*") if path.is_file()]
    assert aside.read_bytes() == b"wrong"


def test_k43_it_is_said_again_until_a_person_accepts_that_it_is_lost(
    keep, back_up, place, found, tmp_path, time_machine_at
):
    keep(b"stays")
    media = keep(b"right")
    back_up()
    overwrite(place / "media" / media.file_path, b"wrong")
    (tmp_path / "photos" / media.file_path).unlink()

    with time_machine_at(now() + timedelta(days=SLICES)):
        outcomes = [back_up().is_good, back_up().is_good]
        outcomes += [back_up(accept_changes=True).is_good, back_up().is_good]

    assert outcomes == [False, False, True, True]
    assert [one.facts["files"] for one in found().verified] == [2, 1, 1]
    assert media.file_path not in (newest(place) / "SHA256SUMS").read_text()


def test_k43_a_truncated_database_in_the_target_is_set_aside_and_the_run_is_bad(
    keep, back_up, place, found
):
    keep()
    back_up()
    database = newest(place) / "database.sqlite3"
    database.chmod(0o600)
    os.truncate(database, database.stat().st_size - 4096)

    result, again = back_up(), back_up()

    assert not result.is_good
    assert "is damaged in the target, and was set aside" in result.words
    assert again.is_good
    assert [one.number for one in found().complete] == [2, 3]


def test_k43_a_flipped_bit_in_the_last_database_is_found_the_next_day(
    keep, back_up, place, found, time_machine_at
):
    keep()
    back_up()
    database = newest(place) / "database.sqlite3"
    content = bytearray(database.read_bytes())
    content[5000] ^= 1
    overwrite(database, bytes(content))

    with time_machine_at(now() + timedelta(days=1)):
        result = back_up()

    assert not result.is_good
    assert f"{database.relative_to(place)} is not what it was" in result.words
    assert [one.number for one in found().complete] == [2]


def test_a_list_that_was_altered_is_no_memory_to_trust(keep, back_up, place, found):
    media = keep(b"right")
    back_up()
    sums = newest(place) / "SHA256SUMS"
    content = sums.read_bytes()
    overwrite(sums, content.replace(content[:4], b"0000", 1))

    result = back_up()

    assert not result.is_good
    assert back_up().is_good
    assert hash_of(place / "media" / media.file_path) == media.sha256


def test_k67_a_file_that_no_comparison_ever_saw_is_hashed_before_it_is_trusted(
    keep, back_up, place
):
    """As a power cut leaves it: the name and the size are there, the bytes never came."""
    media = keep(b"right")
    torn = place / "media" / media.file_path

    def cut() -> None:
        raise RuntimeError("the power fails")

    with pytest.raises(RuntimeError):
        back_up(progress=At("comparing", cut))
    overwrite(torn, bytes(5))

    result = back_up()

    assert result.is_good
    assert hash_of(torn) == media.sha256


def test_what_a_run_wrote_is_read_back(keep, back_up, place):
    media = keep(b"right")

    def flip() -> None:
        overwrite(place / "media" / media.file_path, b"wrong")

    result = back_up(progress=At("comparing", flip))

    assert (result.is_good, result.counts["read"], result.counts["healed"]) == (True, 1, 1)
    assert hash_of(place / "media" / media.file_path) == media.sha256


def test_each_slice_comes_once_in_thirty_days_also_after_missed_ones():
    today = date(2026, 11, 25)
    days = [
        comparison.due_slices(today + timedelta(n - 1), today + timedelta(n)) for n in range(30)
    ]

    assert sorted(one for due in days for one in due) == list(range(SLICES))
    assert comparison.due_slices(today, today) == frozenset()
    assert len(comparison.due_slices(today - timedelta(3), today)) == 3
    assert len(comparison.due_slices(today - timedelta(400), today)) == SLICES
    assert len(comparison.due_slices(today + timedelta(900), today)) == 1
    assert slice_of("0000001f" + "0" * 56) == 1
