"""Deadlines that a process shares with the one that supervises it."""

import os
import uuid

import pytest

from viewer import watchdog as module
from viewer.watchdog import SLOTS, Watchdog

ROW, OTHER = uuid.uuid4(), uuid.uuid4()


def test_only_a_unit_beyond_its_deadline_is_overdue():
    watchdog = Watchdog()

    with watchdog.watch(ROW, 60):
        in_time = watchdog.is_overdue()
        with watchdog.watch(OTHER, -1):
            too_late = watchdog.is_overdue()
        afterwards = watchdog.is_overdue()

    assert (in_time, too_late, afterwards) == (False, True, False)


def test_what_a_child_was_at_is_seen_by_its_parent_and_told_to_the_next_child():
    watchdog = Watchdog()
    child = os.fork()
    if child == 0:
        with watchdog.watch(ROW, 60), watchdog.watch(OTHER, 60):
            os._exit(0)
    os.waitpid(child, 0)

    assert set(watchdog.rows()) == {ROW, OTHER}

    watchdog.clear()
    assert watchdog.rows() == []
    assert set(watchdog.interrupted) == {ROW, OTHER}


def test_a_unit_that_fails_frees_its_slot():
    watchdog = Watchdog()

    for _ in range(2 * SLOTS):
        with pytest.raises(ZeroDivisionError), watchdog.watch(ROW, 60):
            raise ZeroDivisionError

    assert watchdog.rows() == []


def test_one_that_beat_once_must_go_on(monkeypatch):
    watchdog = Watchdog()
    silent = watchdog.is_overdue()
    watchdog.beat()
    beating = watchdog.is_overdue()
    monkeypatch.setattr(module, "BEAT_WITHIN", -1.0)
    stopped = watchdog.is_overdue()
    with watchdog.watch(ROW, 60):
        at_work = watchdog.is_overdue()
    watchdog.clear()
    begun_anew = watchdog.is_overdue()

    assert (silent, beating, stopped, at_work, begun_anew) == (False, False, True, False, False)
