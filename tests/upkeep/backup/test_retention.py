"""What is pruned is never what would be missed, whatever the clock says."""

import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.crash import disks
from tests.upkeep.backup.conftest import At, hash_of, newest, overwrite
from viewer.extensions import db, now
from viewer.models import MediaAttachment
from viewer.office import trash
from viewer.storage.folder import Folder
from viewer.storage.store import Unavailable
from viewer.upkeep import runs
from viewer.upkeep.backup import record, retention, snapshots
from viewer.upkeep.backup.snapshots import Snapshot

BEGIN = datetime(2026, 1, 1, 3, 15, tzinfo=UTC)
State = MediaAttachment.State


def snapshot(number: int, taken_at: datetime) -> Snapshot:
    return Snapshot(snapshots.name_of(number, taken_at), number, taken_at, {}, {})


def simulate(stamps: Iterator[datetime]) -> list[Snapshot]:
    """A backup at each of these times, and the pruning after it; what is left."""
    left: list[Snapshot] = []
    for number, taken_at in enumerate(stamps, 1):
        left.append(snapshot(number, taken_at))
        if not retention.has_clock_gone_back(left):
            kept = retention.choose_kept(left)
            left = [one for one in left if one.number in kept]
        assert [one.number for one in left[-3:]] == list(range(max(1, number - 2), number + 1))
    return left


def hourly(days: float) -> Iterator[datetime]:
    return (BEGIN + timedelta(hours=hour) for hour in range(int(days * 24)))


def test_k45_after_400_days_there_are_hours_days_weeks_and_months():
    left = simulate(hourly(400))
    last = left[-1].taken_at
    ages = [last - one.taken_at for one in left]

    assert len(left) <= 24 + 14 + 8 + 12
    assert sum(age < timedelta(hours=24) for age in ages) == 24
    assert len({one.taken_at.date() for one in left if last - one.taken_at < timedelta(14)}) == 14
    months = {(one.taken_at.year, one.taken_at.month) for one in left}
    assert len(months) == 12
    weeks = {one.taken_at.isocalendar()[:2] for one in left if last - one.taken_at < timedelta(55)}
    assert len(weeks) >= 8


@pytest.mark.parametrize("ahead", [timedelta(days=3 * 365), -timedelta(days=200)])
def test_k45_a_clock_that_is_wrong_for_a_day_costs_next_to_nothing(ahead):
    def stamps() -> Iterator[datetime]:
        for moment in hourly(400):
            is_wrong = timedelta(days=200) <= moment - BEGIN < timedelta(days=201)
            yield moment + ahead if is_wrong else moment

    left = simulate(stamps())

    usual = {one.taken_at for one in simulate(hourly(400))}
    lost = usual - {one.taken_at for one in left}
    assert len({one.taken_at.date() for one in left}) >= 14
    assert len(lost) <= 1 + 24  # months at most: hours and days are all there
    assert {moment for moment in usual if moment > BEGIN + timedelta(days=399)} <= {
        one.taken_at for one in left
    }


def test_k45_whatever_the_clock_does_the_last_three_stay():
    chance = random.Random(45)
    moment = BEGIN

    def stamps() -> Iterator[datetime]:
        nonlocal moment
        for _ in range(2000):
            moment += timedelta(hours=chance.choice((1, 1, 1, 24, -30, 9000, -9000)))
            yield moment

    assert len(simulate(stamps())) >= 3  # and `simulate` looks after each


def test_k45_the_last_proven_snapshot_stays_however_old_it_is():
    left = [snapshot(n, moment) for n, moment in enumerate(hourly(400), 1)]

    assert 5 not in retention.choose_kept(left)
    assert 5 in retention.choose_kept(left, {5})


@pytest.fixture
def few(monkeypatch):
    """Four hours instead of 24: the counting is tested above, and each run costs its fsyncs."""
    (_, by_hour), *others = retention.RULES
    monkeypatch.setattr(retention, "RULES", ((4, by_hour), *others))


# --- With real targets ---------------------------------------------------------------------


@pytest.fixture
def at(back_up, time_machine_at):
    """Back up so many hours from the beginning."""

    def run(hours: float, **words):
        with time_machine_at(BEGIN + timedelta(hours=hours)):
            return back_up(**words)

    return run


@pytest.mark.proof
def test_snapshots_are_removed_when_their_time_is_over(keep, at, place, found):
    keep()
    for hours in range(30):
        assert at(hours).is_good

    numbers = [one.number for one in found().complete]
    assert numbers == [21, *range(7, 31)] or numbers[-24:] == list(range(7, 31))
    assert len(list((place / "snapshots").iterdir())) == len(numbers)


def test_k69_a_file_goes_with_the_last_snapshot_that_names_it(
    keep, at, place, found, time_machine_at, monkeypatch
):
    monkeypatch.setattr(retention, "RULES", ())  # the last three alone
    with time_machine_at(BEGIN):
        media = keep(b"purged later", state=State.TRASHED, trashed_at=now() - timedelta(days=40))
    keep(b"stays")
    at(0)
    at(1)
    copy = place / "media" / media.file_path
    with time_machine_at(BEGIN + timedelta(hours=1, minutes=30)):
        trash.purge([media.id], None)

    present = []
    for day in range(1, 6):
        at(day * 24)
        names = {key for one in found().complete for key, _ in read(place, one)}
        present.append(copy.exists())
        assert copy.exists() == (media.file_path in names)

    assert present == [True, True, False, False, False]


def read(place: Path, one: Snapshot) -> list[tuple[str, str]]:
    lines = (place / one.sums).read_text().splitlines()
    return [(line[66:].removeprefix("media/"), line[:64]) for line in lines]


def test_a_row_that_came_back_keeps_its_file_in_the_pool(keep, at, place, found):
    """The second look: no snapshot names it any more, and a row does now."""
    media = keep(b"again")
    keep(b"stays")
    at(0)
    for one in place.glob("snapshots/*"):
        shutil.rmtree(one)
    db.session.query(MediaAttachment).filter_by(id=media.id).update({"downloaded_at": None})
    db.session.commit()

    def come_back() -> None:
        db.session.query(MediaAttachment).filter_by(id=media.id).update({"downloaded_at": now()})
        db.session.commit()

    at(24, progress=At("comparing", come_back))

    assert (place / "media" / media.file_path).exists()


def test_k47_later_stamps_that_somebody_forged_push_out_no_verified_snapshot(
    keep, at, place, found
):
    keep()
    for hours in range(4):
        at(hours)
    real = newest(place)
    for number in range(40):
        forged = snapshots.name_of(100 + number, BEGIN + timedelta(days=900 + number))
        shutil.copytree(real, place / "snapshots" / forged)
        facts = place / "snapshots" / forged / "snapshot.json"
        stamp = snapshots.stamp(BEGIN + timedelta(days=900 + number))
        text = facts.read_text().replace(real.name[7:], stamp)
        overwrite(facts, text.replace('"number": 4', f'"number": {100 + number}').encode())

    assert at(5).is_good
    verified = [one.number for one in found().verified]
    assert verified == [1, 2, 3, 4, 140]


def test_k35_what_a_killed_run_left_is_cleared_by_the_next_good_one(keep, at, place):
    keep()
    at(0)
    left = place / "snapshots" / snapshots.name_of(2, BEGIN + timedelta(hours=1))
    left.mkdir()
    shutil.copy(newest(place) / "database.sqlite3", left)

    result = at(2)

    assert (result.is_good, result.snapshot) == (True, 3)
    assert not left.exists()


def test_k41_a_bad_run_prunes_nothing(few, keep, at, found, tmp_path):
    media = keep(b"right")
    for hours in range(6):
        at(hours)
    before = {one.number for one in found().complete}
    lost = keep(b"lost at once")
    (tmp_path / "photos" / lost.file_path).unlink()

    assert not at(7).is_good
    assert before <= {one.number for one in found().complete}
    assert media.sha256


def test_the_clock_that_went_back_prunes_nothing(few, keep, at, found):
    keep()
    for hours in range(6):
        at(hours)
    before = {one.number for one in found().complete}

    result = at(-5000)

    assert result.is_good
    assert "The clock went back" in result.words
    assert before <= {one.number for one in found().complete}


class Undeletable(Folder):
    """An append-only target: S3 without the right to delete, rrsync -no-del."""

    def remove(self, key: str) -> None:
        raise Unavailable("Access denied.")


def test_k46_a_target_that_refuses_deletes_is_good_and_not_pruned(
    few, keep, at, found, monkeypatch
):
    keep()
    for hours in range(6):
        at(hours)
    before = len(found().complete)
    monkeypatch.setattr(
        "viewer.upkeep.backup.targets.target.from_url",
        lambda url, marker: Undeletable(Path(url.removeprefix("folder:")), marker=marker),
    )

    result = at(7)

    assert result.is_good
    assert "Not pruned here" in result.words
    assert len(found().complete) == before + 1


def test_prune_only_prunes_what_another_machine_may_not(few, keep, at, place, found, monkeypatch):
    keep()
    with monkeypatch.context() as refusing:
        refusing.setattr(Folder, "remove", Undeletable.remove)
        for hours in range(8):
            assert at(hours).is_good
    assert len(found().complete) == 8

    pruned = record.prune_only(str(place), same_filesystem=True)

    assert (pruned.snapshots, pruned.problem) == (8 - len(found().complete), None)
    assert [one.number for one in found().complete][-4:] == [5, 6, 7, 8]


@pytest.mark.proof
def test_k46_a_folder_of_which_nothing_can_be_deleted(keep, back_up, stack, tmp_path):
    """For real: files that are immutable (chattr +i), as an administrator would make them."""
    disks.needs_mounts()
    disk = disks.Disk(stack, "24M").path / "backup"
    keep()
    back_up(disk)
    name = next((disk / "snapshots").iterdir())
    left = disk / "snapshots" / snapshots.name_of(1, BEGIN)
    left.mkdir()
    shutil.copy(name / "SHA256SUMS", left)
    disks.shell("chattr", "+i", str(left / "SHA256SUMS"))
    stack.callback(disks.shell, "chattr", "-i", str(left / "SHA256SUMS"))

    result = back_up(disk)

    assert result.is_good
    assert "Not pruned here" in result.words
    assert hash_of(left / "SHA256SUMS")


def test_the_snapshot_that_a_drill_proved_is_kept(keep, at, place, found):
    keep()
    at(0)
    at(0.5)
    with_words = runs.begin(runs.Kind.DRILL, f"folder:{place}")
    runs.finish(with_words, runs.Outcome.GOOD, "proven", snapshot=1)
    for hours in range(1, 5):
        at(hours)

    assert 1 in {one.number for one in found().complete}
