"""Short write transactions: what was read is true when it is written, whoever else writes."""

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from viewer import extensions, transactions
from viewer.extensions import db, lock_parts
from viewer.models import Checkpoint

pytestmark = pytest.mark.on_sqlite("thinks without the one write lock, which PostgreSQL has not")


def write_elsewhere(value: str) -> None:
    """Commit on a connection of its own."""
    with db.engine.begin() as connection:
        connection.execute(
            sa.update(Checkpoint.__table__).where(Checkpoint.name == "count").values(value=value)
        )


@pytest.fixture
def counted(app, database) -> Callable[[], str | None]:
    Checkpoint.write("count", "1")
    db.session.commit()

    def read() -> str | None:
        db.session.remove()
        return Checkpoint.read("count")

    return read


@pytest.mark.parametrize("others", [0, 1, transactions.TRIES])
def test_what_changed_meanwhile_is_thought_out_anew(counted, others):
    thought = []

    def think(alone: bool) -> Callable[[], None]:
        count = Checkpoint.read("count")
        thought.append((count, alone))
        if len(thought) <= others:
            write_elsewhere(f"{len(thought)}0")
        return lambda: Checkpoint.write("count", f"{count} and one")

    transactions.run(think)

    last = f"{others}0" if others else "1"
    assert counted() == f"{last} and one"
    assert thought[-1] == (last, others == transactions.TRIES)  # at last nobody else can write
    assert len(thought) == others + 1


@BOTH
def test_what_must_be_alone_begins_again(counted):
    modes = []

    def think(alone: bool) -> Callable[[], str]:
        modes.append(alone)
        if not alone:
            Checkpoint.read("count")
            raise transactions.NotAlone
        Checkpoint.write("count", "2")
        return lambda: "done"

    assert transactions.run(think) == "done"
    assert modes == [False, True]
    assert counted() == "2"


@BOTH
def test_within_a_transaction_nothing_is_committed(counted):
    Checkpoint.read("count")

    transactions.run(lambda alone: lambda: Checkpoint.write("count", "2"))
    db.session.rollback()

    assert counted() == "1"


def test_whoever_writes_while_thinking_is_told(counted):
    def think(alone: bool) -> Callable[[], None]:
        Checkpoint.forget("count")
        return lambda: None

    with pytest.raises(AssertionError, match="before it had the write lock"):
        transactions.run(think)
    assert counted() == "1"


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_of_two_that_wait_for_each_other_one_begins_again(app, database):
    barrier, done = threading.Barrier(2), []

    def work(*parts: str) -> None:
        tries = []

        def think(alone: bool) -> Callable[[], None]:
            tries.append(alone)
            lock_parts(parts[0])
            if len(tries) == 1:
                barrier.wait()
            lock_parts(parts[1])
            return lambda: None

        with app.app_context():
            transactions.run(think)
        done.append(len(tries))

    workers = [
        threading.Thread(target=work, args=parts) for parts in (("one", "two"), ("two", "one"))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sorted(done) == [1, 2]


@BOTH
def test_a_frozen_connection_sees_one_state_and_lets_others_write(counted):
    asked = sa.select(Checkpoint.value).where(Checkpoint.name == "count")
    with transactions.frozen() as connection:
        before = connection.scalar(asked)
        write_elsewhere("2")
        after = connection.scalar(asked)

    assert (before, after, counted()) == ("1", "1", "2")


def test_without_wal_a_frozen_connection_keeps_nobody_from_writing(settings, request, monkeypatch):
    monkeypatch.setattr(extensions, "_safe_pair", lambda: ("truncate", 3))
    counted = request.getfixturevalue("counted")
    asked = sa.select(Checkpoint.value).where(Checkpoint.name == "count")

    with transactions.frozen() as connection:
        connection.scalar(asked)
        write_elsewhere("2")

    assert counted() == "2"
