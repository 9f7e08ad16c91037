"""The audit log is a hash chain: what is altered, removed, inserted or cut off later is seen."""

import contextlib
import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.support.crowds import run_all
from viewer.extensions import db, now
from viewer.models import AuditChain, AuditEntry
from viewer.office import audit, audit_chain
from viewer.office.audit_chain import Head

pytestmark = BOTH

HOUR = timedelta(hours=1)


@pytest.fixture
def log(app: Any) -> list[AuditEntry]:
    """Five acts, one after the other."""
    for number in range(5):
        audit.note("caption", f"wall {number}")
        db.session.commit()
    return entries()


def entries() -> list[AuditEntry]:
    db.session.rollback()
    db.session.expire_all()
    found = list(db.session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id)))
    db.session.commit()
    return found


def change(where: Any, **values: Any) -> None:
    """As who has the database, and not the viewer."""
    db.session.execute(sa.update(AuditEntry).where(where).values(**values))
    db.session.commit()


def problems(**words: Any) -> list[str]:
    db.session.rollback()
    return audit_chain.verify(**words).problems


def head() -> AuditChain:
    db.session.rollback()
    db.session.expire_all()
    return db.session.scalars(sa.select(AuditChain)).one()


# --- Sealing -------------------------------------------------------------------------------


def test_an_act_is_sealed_by_its_own_commit(log):
    assert [entry.place for entry in log] == [1, 2, 3, 4, 5]
    assert len({entry.chain for entry in log}) == 5
    assert (head().place, head().chain) == (5, log[-1].chain)
    assert problems() == []


@pytest.mark.parametrize("count", [1, 50])
def test_a_seal_costs_three_statements_however_many_entries_there_are(count, log):
    statements: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement.split(" ")[0])

    for number in range(count):
        audit.note("link", str(number))
    db.session.flush()
    with contextlib.ExitStack() as stack:
        sa.event.listen(db.engine, "before_cursor_execute", listen)
        stack.callback(sa.event.remove, db.engine, "before_cursor_execute", listen)
        db.session.commit()

    assert statements == ["SELECT", "UPDATE", "UPDATE"]


def test_what_is_rolled_back_leaves_no_gap(log):
    audit.note("caption", "never")
    db.session.rollback()
    savepoint = db.session.begin_nested()
    audit.note("caption", "nor this")
    db.session.flush()
    savepoint.rollback()
    audit.note("caption", "but this")
    db.session.commit()

    assert [entry.words for entry in entries()][5:] == ["but this"]
    assert entries()[-1].place == 6
    assert problems() == []


def test_many_at_once_make_one_chain(app, log):
    trouble: list[Exception] = []

    def act(name: int) -> None:
        try:
            with app.app_context():
                for number in range(10):
                    audit.note("caption", f"{name} {number}")
                    audit.note("link", f"{name} {number}")
                    db.session.commit()
        except Exception as error:  # noqa: BLE001 - told in the main thread
            trouble.append(error)

    run_all([threading.Thread(target=act, args=(name,)) for name in range(6)])

    assert trouble == []
    assert sorted(entry.place for entry in entries()) == list(range(1, 126))
    assert problems() == []


def test_what_is_older_than_the_chain_is_sealed_later_in_its_order(app):
    db.session.add_all(
        AuditEntry(who="anna@crack.example", action="link", words=str(number), at=now() - 9 * HOUR)
        for number in range(1_203)
    )
    db.session.commit()

    assert audit.seal_ended() == 1_203

    assert [entry.place for entry in entries()] == list(range(1, 1_204))
    assert all(entry.sealed_at - entry.at > 8 * HOUR for entry in entries())
    assert problems() == []


def test_a_counter_is_sealed_once_its_hour_is_over_and_counts_no_more(app):
    with time_machine.travel(now().replace(minute=10), tick=False) as clock:
        audit.count_failed_login(None, must_wait=False)
        db.session.commit()
        early = audit.seal_ended()
        clock.shift(HOUR)
        in_time = audit.seal_ended()
        audit.count_failed_login(None, must_wait=False)
        db.session.commit()

    assert (early, in_time) == (0, 1)
    assert [(entry.times, entry.place) for entry in entries()] == [(1, 1), (1, None)]
    assert problems() == []


# --- What is seen --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "altered",
    [
        {"words": "another wall"},
        {"who": "ben@crack.example"},
        {"address": "203.0.113.9"},
        {"action": "link"},
        {"at": now() - HOUR},
        {"times": 7},
        {"subject_type": "media"},
        {"salt": "0" * 32},
        {"salt": None, "words": "another wall"},
        {"digest": "0" * 64},
        {"chain": "0" * 64},
    ],
    ids=lambda altered: "-".join(altered),
)
def test_an_altered_entry_is_named(altered, log):
    change(AuditEntry.place == 3, **altered)

    assert any(" 3 (" in said or " 4 (" in said for said in problems())


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ((3,), "Entry 3 is gone."),
        ((2, 3, 4), "Entries 2 to 4 are gone."),
        ((1,), "Entry 1 is gone."),
    ],
)
def test_a_removed_entry_is_missed(places, said, log):
    db.session.execute(sa.delete(AuditEntry).where(AuditEntry.place.in_(places)))
    db.session.commit()

    assert problems() == [said]


def test_an_end_that_is_cut_off_is_missed(log):
    db.session.execute(sa.delete(AuditEntry).where(AuditEntry.place > 3))
    db.session.commit()

    assert problems() == ["It ends with entry 3, and its head is 5."]


def test_exchanged_entries_are_seen(log):
    first, second = log[1].words, log[2].words
    change(AuditEntry.place == 2, words=second)
    change(AuditEntry.place == 3, words=first)

    assert len(problems()) == 2


def test_what_was_forgotten_is_told_apart_from_what_was_altered(log):
    change(AuditEntry.place == 3, words="", salt=None)

    verdict = audit_chain.verify()

    assert verdict.problems == []
    assert str(verdict) == "The audit log is whole: 5 entries verified, 1 of them erased."


def rewrite(log: list[AuditEntry]) -> None:
    """Who knows this code computes the whole chain anew."""
    change(sa.true(), place=None, chain=None)
    db.session.execute(sa.delete(AuditChain))
    db.session.execute(sa.delete(AuditEntry).where(AuditEntry.id == log[2].id))
    db.session.commit()
    audit.seal_ended()


def test_a_log_that_was_rewritten_does_not_agree_with_a_backup(log):
    kept = [Head(one.place, one.chain, f"snapshot {one.place}") for one in log]
    agrees = problems(heads=kept)

    rewrite(log)

    assert agrees == []
    assert problems() == []  # by itself it cannot be known
    said = problems(heads=kept[2:])
    assert len(said) == 3
    assert "snapshot 3" in said[0]


# --- By the clock --------------------------------------------------------------------------


def test_each_day_only_what_is_new_is_computed_and_each_week_all(log):
    checked = []
    with time_machine.travel(now(), tick=False) as clock:
        for _ in range(9):
            verdict = audit_chain.verify_if_due()
            assert audit_chain.verify_if_due() is None
            checked.append(verdict.checked)
            audit.note("caption", "one more")
            db.session.commit()
            clock.shift(timedelta(days=1))

    assert checked == [5, 1, 1, 1, 1, 1, 1, 12, 1]
    assert head().verified_place == 13


def test_an_entry_that_was_verified_before_is_missed_the_next_day(log):
    audit_chain.verify_if_due()
    change(AuditEntry.place == 5, chain="0" * 64)

    with time_machine.travel(now() + timedelta(days=1)):
        verdict = audit_chain.verify_if_due()

    assert verdict.problems
    assert head().problem == str(verdict)


def test_a_head_that_was_set_back_is_seen_and_stops_nobody(log):
    db.session.execute(sa.update(AuditChain).values(place=3, chain=log[2].chain))
    db.session.commit()

    said = problems()
    audit.note("caption", "goes on")
    db.session.commit()

    assert said == ["There are entries up to 5; its head is 3."]
    assert entries()[-1].place == 6
    assert problems() == []
