"""What former stores still have goes late, and only what a verified backup has, too."""

import shutil
from collections import namedtuple
from datetime import timedelta

import pytest
import time_machine

from tests.holdings.conftest import keys_in
from tests.support.stored_files import other_store, photos
from viewer import holdings
from viewer.extensions import now
from viewer.upkeep import runs
from viewer.upkeep.move import clearing

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def second(app, tmp_path):
    """Another store. A folder: buckets refuse whoever's clock is days ahead."""
    return other_store(tmp_path / "second").id


@pytest.fixture
def moved(stored, second):
    for media in stored:
        holdings.move(media.id, second)
    return stored


def back_up():
    """As a verified backup is on record, begun now."""
    run = runs.begin(runs.Kind.BACKUP, "folder:/mnt/backup")
    runs.finish(run, runs.Outcome.GOOD, "Good.", {"files": 3})


def in_days(days):
    return time_machine.travel(now() + timedelta(days=days))


def test_k17_without_a_backup_nothing_is_removed_and_it_says_why(moved):
    with in_days(30):
        assert clearing.clear() == clearing.NO_BACKUP

    assert len(keys_in(holdings.own_id())) == 9


def test_a_backup_that_began_before_the_move_is_no_proof(stored, second):
    with time_machine.travel(now() - timedelta(hours=1)):
        back_up()
    for media in stored:
        holdings.move(media.id, second)

    with in_days(30):
        assert clearing.clear() == "0 files removed from former stores"


def test_after_two_weeks_what_a_backup_has_is_removed(moved):
    with in_days(13):
        back_up()
        assert clearing.clear() == "0 files removed from former stores"
    with in_days(15):
        assert clearing.clear() == "3 files removed from former stores"

    assert keys_in(holdings.own_id()) == set()
    assert {media.former_storage for media in photos()} == {None}
    with in_days(16):
        assert clearing.clear() == "0 files removed from former stores"


def test_a_disk_that_runs_full_is_cleared_sooner(moved, monkeypatch):
    with in_days(1):
        back_up()
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 95, 5))

        assert clearing.clear() == "3 files removed from former stores"


def test_what_is_wrong_in_the_new_store_is_noted_and_the_former_one_kept(moved):
    media = photos()[0]
    holdings.store(media.storage).remove(media.file_path)

    with in_days(15):
        back_up()
        assert clearing.clear() == "2 files removed from former stores"

    assert photos()[0].is_damaged
    assert media.file_path in keys_in(holdings.own_id())


def test_nothing_waits_where_nothing_was_moved(stored):
    assert clearing.clear() == "nothing is waiting"
