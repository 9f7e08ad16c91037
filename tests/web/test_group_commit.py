"""What several requests write at once shares a transaction, and none answers for another."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.crowds import run_all
from viewer.web import group_commit
from viewer.web.group_commit import GroupCommit, Stuck


class Table:
    """A table of words, and what happened to it."""

    def __init__(self, path: Path) -> None:
        self.engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0.2})
        with self.engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE words (word TEXT UNIQUE)"))
        self.transactions: list[list[str]] = []
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.before: Callable[[str], None] = lambda word: None

    def write(self, connection: sa.Connection, word: str) -> str:
        self.before(word)
        connection.execute(sa.text("INSERT INTO words VALUES (:word)"), {"word": word})
        return word.upper()

    def committed(self, results: Sequence[str]) -> None:
        self.transactions.append(list(results))

    def words(self) -> set[str]:
        with self.engine.connect() as connection:
            return set(connection.scalars(sa.text("SELECT word FROM words")))

    def hold_the_first(self, word: str) -> None:
        """Keep the first writer inside its transaction until `go_on`."""
        if word == "first":
            self.entered.set()
            assert self.go_on.wait(10)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = Table(tmp_path / "words.db")
    yield table
    table.go_on.set()
    table.engine.dispose()


@pytest.fixture
def commits(table: Table) -> GroupCommit[str, str]:
    return GroupCommit(table.engine, table.write, order=str, committed=table.committed)


def wait_for(commits: GroupCommit[str, str], count: int) -> None:
    pause = threading.Event()
    while len(commits._waiting) < count:
        pause.wait(0.001)


def written_at_once(
    table: Table, commits: GroupCommit[str, str], words: Sequence[str]
) -> dict[str, str | BaseException]:
    """What each got: all of them asked while a first one wrote."""
    found: dict[str, str | BaseException] = {}

    def ask(word: str) -> None:
        try:
            found[word] = commits.run(word)
        except BaseException as error:  # noqa: BLE001 - also one that ends a thread
            found[word] = error

    first = threading.Thread(target=ask, args=("first",))
    before = table.before

    def hold(word: str) -> None:
        table.hold_the_first(word)
        before(word)

    table.before = hold
    first.start()
    assert table.entered.wait(10)
    others = [threading.Thread(target=ask, args=(word,)) for word in words]

    def release() -> None:
        wait_for(commits, len(words))
        table.go_on.set()

    run_all([*others, threading.Thread(target=release)])
    first.join(10)
    return found


def test_alone_it_is_written_at_once(table, commits):
    assert commits.run("alone") == "ALONE"
    assert (table.words(), table.transactions) == ({"alone"}, [["ALONE"]])


def test_who_waits_is_written_in_one_transaction_and_gets_its_own_result(table, commits):
    words = ["c", "a", "d", "b"]

    found = written_at_once(table, commits, words)

    assert found == {word: word.upper() for word in ["first", *words]}
    assert table.words() == {"first", *words}
    assert table.transactions == [["FIRST"], ["A", "B", "C", "D"]]  # sorted: one order for all


def test_a_transaction_is_no_longer_than_it_may_be(table, commits, monkeypatch):
    monkeypatch.setattr(group_commit, "MOST", 3)
    words = [f"{number:02d}" for number in range(10)]

    written_at_once(table, commits, words)

    assert table.words() == {"first", *words}
    assert [len(one) for one in table.transactions] == [1, 3, 3, 3, 1]


def test_one_that_cannot_be_written_costs_the_others_nothing(table, commits):
    commits.run("taken")

    found = written_at_once(table, commits, ["a", "taken", "z"])

    assert isinstance(found.pop("taken"), sa.exc.IntegrityError)
    assert found == {"first": "FIRST", "a": "A", "z": "Z"}
    assert table.words() == {"first", "taken", "a", "z"}


def test_without_a_transaction_all_who_wait_are_told_at_once(table, commits):
    """Nobody waits for the lock again after the one before has waited in vain."""
    begun = []

    @sa.event.listens_for(table.engine, "begin")
    def count(_connection: sa.Connection) -> None:
        begun.append(len(commits._waiting))
        if len(begun) == 2:
            raise sa.exc.OperationalError("BEGIN", None, TimeoutError("locked"))

    found = written_at_once(table, commits, ["a", "b", "c"])

    assert [type(found[word]) for word in "abc"] == [sa.exc.OperationalError] * 3
    assert begun == [1, 3]
    assert table.words() == {"first"}


def test_behind_one_that_hangs_nobody_waits_for_ever(table, commits, monkeypatch):
    monkeypatch.setattr(group_commit, "PATIENCE", 0.05)
    table.before = table.hold_the_first
    first = threading.Thread(target=commits.run, args=("first",))
    first.start()
    assert table.entered.wait(10)

    with pytest.raises(Stuck):
        commits.run("second")
    table.go_on.set()
    first.join(10)

    assert commits.run("third") == "THIRD"
    assert table.words() == {"first", "third"}  # whoever was told that it failed is not written


def test_what_a_stopped_thread_was_writing_is_written_by_the_next(table, commits):
    stops = [SystemExit]

    def stop_once(word: str) -> None:
        if stops and word == "b":
            raise stops.pop()

    table.before = stop_once
    found = written_at_once(table, commits, ["a", "b", "c"])

    [stopped] = [word for word, result in found.items() if isinstance(result, SystemExit)]
    assert all(found[word] == word.upper() for word in {"a", "b", "c"} - {stopped})
    assert table.words() == {"first", "a", "b", "c"}
