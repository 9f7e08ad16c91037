"""When 100 GB or a full disk is reached: a range from what came, or that nobody can tell."""

import json
import re
from datetime import timedelta

import pytest

from tests.conftest import BOTH
from tests.support.alarms import alarms_beside_setup
from tests.support.factories import customer, files, text
from tests.support.stored_files import keep, other_store, path_of
from viewer import schedule
from viewer.extensions import db, now
from viewer.models import Checkpoint, MediaAttachment, RegisteredStore
from viewer.upkeep import health, verify
from viewer.upkeep.health import figures, growth, reading, totals
from viewer.upkeep.health.growth import Growth, Verdict, foretell

pytestmark = pytest.mark.on_folder("says where each file is, and how much of it")

GB = 1_000_000_000
STEADY = (7 * GB,) * 13  # a GB a day


def came(*days_and_bytes: tuple[float, int]) -> list[MediaAttachment]:
    """Originals of messages that were sent so many days ago; all of them were stored today."""
    message = text(customer())
    return [
        files(
            message,
            sent_at=now() - timedelta(days=days),
            file_size=size,
            downloaded_at=now(),
        )[0]
        for days, size in days_and_bytes
    ]


def grown(weeks: tuple[int, ...] = STEADY, known: int = 91, total: int = 50 * GB) -> Growth:
    return Growth(total, weeks, known, now())


@pytest.fixture
def disk(monkeypatch):
    """A disk for the photos with 90 of 500 GB free."""

    def has(free: int, total: int = 500 * GB) -> None:
        monkeypatch.setattr(
            reading, "_disks", lambda _: [figures.Disk("photos", free, total, 0, 0)]
        )

    has(90 * GB)
    return has


def outlook() -> growth.Outlook:
    db.session.commit()
    return health.read_health(None).outlook


# --- What came -----------------------------------------------------------------------------


@BOTH
def test_weeks_go_by_when_messages_were_sent_not_by_when_they_were_stored(app):
    came((200, 64), (90, 32), (14.5, 16), (7.5, 8), (6.5, 4), (0, 2))
    files(text(customer()), file_size=1024, state=MediaAttachment.State.PENDING, storage=None)

    found = outlook().growth

    assert (found.total, found.known) == (126, 91)
    assert found.weeks == (32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 8, 6)
    assert found.totals == [64, 96, 96, 96, 96, 96, 96, 96, 96, 96, 96, 112, 120, 126]


@BOTH
def test_what_was_counted_by_the_schedule_is_the_same(app):
    came((90, 32), (14.5, 16), (6.5, 4))
    before = outlook().growth
    schedule.do_if_due(schedule.TaskDefinition("totals", 0, 60, totals.count), "test")

    counted = outlook().growth

    assert (counted.weeks, counted.total) == (before.weeks, before.total)
    assert "weekly" in json.loads(Checkpoint.read(totals.CHECKPOINT))


def test_only_whole_weeks_since_the_first_message_count(app):
    came((20, 40), (10, 20), (3, 10))

    found = outlook().growth

    assert (found.known, found.weeks) == (20, (20, 10))


def test_what_other_stores_have_is_no_growth_of_this_disk(app, disk, tmp_path):
    theirs = RegisteredStore(host="second", address="/srv/photos")
    bucket = other_store(tmp_path / "bucket")
    db.session.add(theirs)
    db.session.commit()
    ours, other, pushed = came((20, 100 * GB), (10, 50 * GB), (10, 30 * GB))
    other.storage, pushed.storage = theirs.id, bucket.id

    found = outlook()

    assert found.growth.total == 150 * GB
    assert found.forecasts["s3"].verdict is Verdict.REACHED
    assert found.forecasts["disk"].growth.total == ours.file_size


# --- Forecast ------------------------------------------------------------------------------


def test_a_steady_pace_gives_one_day():
    found = foretell(grown(), 90 * GB)

    assert (found.soonest, found.likely, found.latest) == (90, 90, 90)


def test_weeks_that_differ_give_a_range():
    found = foretell(grown((7 * GB, 21 * GB) * 3, known=42), 90 * GB)

    assert (found.soonest, found.likely, found.latest) == (30, 45, 90)


def test_one_week_of_films_moves_the_near_end_and_not_the_far_one():
    usual = foretell(grown(), 90 * GB)
    found = foretell(grown((*STEADY[1:], 700 * GB)), 90 * GB)

    assert found.soonest < 10
    assert found.latest == usual.latest


@pytest.mark.parametrize(
    ("growing", "left", "verdict"),
    [
        (grown(), 0, Verdict.REACHED),
        (grown(), -1, Verdict.REACHED),
        (grown((7 * GB,), known=13), GB, Verdict.TOO_YOUNG),
        (grown((), known=0, total=0), GB, Verdict.TOO_YOUNG),
        (grown((7 * GB, 0), known=14), GB, Verdict.AHEAD),
        (grown((0,) * 13), GB, Verdict.NO_GROWTH),
        (grown((7,) * 13), 3651, Verdict.FAR),
        (grown((7,) * 13), 3650, Verdict.AHEAD),
    ],
)
def test_what_cannot_be_foretold_is_said(growing, left, verdict):
    assert foretell(growing, left).verdict is verdict


def test_where_quiet_weeks_bring_nothing_there_is_no_latest():
    found = foretell(grown((0, 7 * GB) * 3, known=42), 10 * GB)

    assert (found.soonest, found.likely, found.latest) == (10, 20, None)


def test_thumbnails_and_previews_fill_the_disk_too(app, disk):
    path = path_of(keep(b"x" * 1000))
    path.with_name(f"{path.stem}_thumb.jpg").write_bytes(b"x" * 500)
    before = outlook().forecasts["disk"].left
    verify.nightly()

    assert (before, outlook().forecasts["disk"].left) == (90 * GB, 60 * GB)


# --- Alarm ---------------------------------------------------------------------------------


def alarm() -> health.Alarm | None:
    db.session.commit()
    return next((one for one in alarms_beside_setup(None) if one.name == "s3_due"), None)


def test_there_is_no_alarm_while_it_is_far(app, disk):
    came(*((day, GB // 10) for day in range(0, 91, 7)))

    assert alarm() is None


def test_100_gb_in_less_than_a_month_is_an_alarm_with_its_step(app, disk):
    came((95, 20 * GB), *((day, 6 * GB) for day in range(1, 91, 7)))
    disk(10_000 * GB, 20_000 * GB)

    found = alarm()

    assert found.words == (
        "At the pace of the last weeks, 100 GB of originals in folders are reached in about 2 days."
        " S3 is due."
    )
    assert "viewer storage move --to s3://" in found.step
    assert found.level is health.Level.ATTENTION


def test_over_100_gb_is_one_too(app, disk):
    came((400, 101 * GB))

    assert alarm().words == "There are over 100 GB of originals in folders. S3 is due."


def test_a_disk_that_fills_is_one_but_not_beside_that_of_a_full_disk(app, disk):
    came(*((day, GB // 2) for day in range(1, 91, 7)))
    disk(2 * GB, 10 * GB)
    filling = alarm()
    disk(2 * GB, 21 * GB)

    assert "the disk for the photos is full in about 28 days. S3 is due." in filling.words
    assert alarm() is None
    assert "disk_photos_low" in {one.name for one in health.read_health(None).alarms}


def test_once_new_files_go_to_s3_nobody_is_urged(app, disk, tmp_path):
    came((95, 200 * GB))
    other_store(tmp_path / "bucket").is_wanted = True

    found = outlook()

    assert (found.is_s3_wanted, found.forecasts, found.growth.total) == (True, {}, 200 * GB)
    assert alarm() is None


def test_monitors_read_the_same(client, disk):
    came((95, 20 * GB), *((day, GB) for day in range(1, 91, 7)))

    metrics = client.get("/metrics").text

    days = outlook().forecasts
    [pace] = re.findall(r"^viewer_growth_bytes_per_day (.+)$", metrics, re.MULTILINE)
    assert float(pace) == 13 * GB / 91
    assert f'viewer_days_until{{limit="s3"}} {days["s3"].likely}.0' in metrics
    assert f'viewer_days_until{{limit="disk"}} {days["disk"].likely}.0' in metrics
