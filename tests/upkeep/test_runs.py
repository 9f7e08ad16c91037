"""The record of runs: one that was killed is seen, and it stays short."""

from datetime import timedelta

import sqlalchemy as sa
from flask import Flask

from viewer.extensions import db, now
from viewer.models import UpkeepRun
from viewer.upkeep import runs
from viewer.upkeep.runs import Kind, Outcome


def test_a_run_that_never_ended_is_on_record_and_is_no_result(app: Flask) -> None:
    runs.begin(Kind.BACKUP, "/mnt/backup")
    [run] = db.session.scalars(sa.select(UpkeepRun))
    assert (run.outcome, run.ended_at) == (Outcome.RUNNING, None)
    assert runs.latest(Kind.BACKUP) is None


def test_the_latest_is_found_by_subject_and_outcome(app: Flask) -> None:
    for subject, outcome in (("a", Outcome.GOOD), ("b", Outcome.GOOD), ("a", Outcome.BAD)):
        runs.finish(runs.begin(Kind.BACKUP, subject), outcome, "as told", {"files": 3}, snapshot=7)
    found = runs.latest(Kind.BACKUP, "a", Outcome.GOOD)
    assert found is not None
    assert (found.words, found.counts, found.snapshot) == ("as told", {"files": 3}, 7)
    newest = runs.latest(Kind.BACKUP, "a")
    assert newest is not None
    assert newest.outcome is Outcome.BAD
    assert runs.latest(Kind.VERIFY) is None


def test_four_hundred_of_a_kind_are_kept_and_the_last_good_one_of_each_subject(app: Flask) -> None:
    long_ago = now() - timedelta(days=90)
    db.session.add_all(
        UpkeepRun(
            kind=Kind.BACKUP,
            subject="a",
            outcome=Outcome.GOOD if number == 1 else Outcome.BAD,
            started_at=long_ago + timedelta(hours=number),
        )
        for number in range(runs.KEPT + 20)
    )
    db.session.add(UpkeepRun(kind=Kind.VERIFY, subject="a", started_at=long_ago))
    db.session.commit()

    runs.finish(runs.begin(Kind.BACKUP, "b"), Outcome.GOOD, "well")

    def count(kind: Kind) -> int:
        query = sa.select(sa.func.count()).select_from(UpkeepRun).filter_by(kind=kind)
        return db.session.scalar(query) or 0

    assert count(Kind.BACKUP) == runs.KEPT + 1
    assert count(Kind.VERIFY) == 1
    good = db.session.scalars(sa.select(UpkeepRun).filter_by(subject="a", outcome=Outcome.GOOD))
    assert [run.started_at for run in good] == [long_ago + timedelta(hours=1)]
