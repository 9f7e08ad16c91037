"""Each snapshot records the head of the audit log: a log that was rewritten or cut is seen."""

import json
from pathlib import Path

import sqlalchemy as sa

from tests.upkeep.backup.conftest import newest
from viewer.extensions import db
from viewer.models import AuditChain, AuditEntry
from viewer.office import audit
from viewer.upkeep.backup.result import Outcome


def act(*names: str) -> None:
    for name in names:
        audit.note("caption", name)
        db.session.commit()


def rewrite() -> None:
    """Remove one act, and compute the chain anew, as who has the database and our code."""
    db.session.execute(sa.delete(AuditEntry).where(AuditEntry.place == 2))
    db.session.execute(sa.delete(AuditChain))
    db.session.execute(sa.update(AuditEntry).values(place=None, chain=None))
    db.session.commit()
    audit.seal_ended()


def facts(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "snapshot.json").read_text())
    return found


def test_a_snapshot_names_the_head_and_a_log_that_goes_on_agrees(app, keep, back_up, place):
    keep()
    act("one", "two", "three")
    first = back_up()
    named = facts(newest(place))["audit"]
    act("four")

    second = back_up()

    [last] = db.session.scalars(sa.select(AuditEntry.chain).where(AuditEntry.place == 3))
    assert named == {"place": 3, "chain": last}
    assert (first.outcome, second.outcome) == (Outcome.GOOD, Outcome.GOOD)


def test_a_rewritten_log_makes_each_run_bad_until_a_person_accepts_it(app, keep, back_up):
    keep()
    act("one", "two", "three")
    back_up()
    rewrite()
    act("three again", "four")

    runs = [back_up(), back_up(), back_up(accept_changes=True), back_up()]

    assert [run.outcome for run in runs] == [
        Outcome.BAD, Outcome.BAD, Outcome.GOOD, Outcome.GOOD,
    ]  # fmt: skip
    assert "snapshot 1" in runs[1].words
    assert "1 original" in runs[1].words  # the photos are in it all the same
