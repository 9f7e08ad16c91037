"""Group commit: what several requests want to write at once goes into one transaction.

A transaction waits for SQLite's write lock and for the disk, however little it writes. Of the
requests that wait for their turn, the first writes for all: beside busy workers, one thread has to
win the lock, not eight.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from viewer.extensions import REQUEST_PATIENCE

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 2 * REQUEST_PATIENCE  # seconds; who writes has waited that long once, at most
MOST = 16  # items in one transaction, so that the write lock is held for a few milliseconds


class Stuck(Exception):
    """Another request has been writing for too long: its disk or its database does not answer."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[Item]):
    item: Item
    result: Any = None
    error: Exception | None = None
    is_done: bool = False


class GroupCommit(Generic[Item, Result]):
    """Write items, each in a transaction that it may share with others."""

    def __init__(
        self,
        engine: sa.Engine,
        write: Callable[[sa.Connection, Item], Result],
        order: Callable[[Item], str],
        committed: Callable[[Sequence[Result]], None],
    ) -> None:
        """`committed` is called with the results of each transaction, once.

        `order` is the key by which the items of a transaction are sorted: two processes that write
        the same keys in one order never wait for each other in a circle.
        """
        self._engine, self._write = engine, write
        self._order, self._committed = order, committed
        self._waiting: deque[_Entry[Item]] = deque()
        self._turn = threading.Lock()

    def run(self, item: Item) -> Result:
        """Write this item and commit. Raises Stuck, and what begin, `write` or commit raised."""
        entry = _Entry(item)
        self._waiting.append(entry)
        if not self._turn.acquire(timeout=PATIENCE):
            with suppress(ValueError):  # it is being written
                self._waiting.remove(entry)
            raise Stuck
        try:
            while not entry.is_done:
                self._write_together()
        finally:
            self._turn.release()
        if entry.error is not None:
            raise entry.error
        result: Result = entry.result
        return result

    def _write_together(self) -> None:
        entries: list[_Entry[Item]] = []
        try:
            with self._engine.begin() as connection:
                entries = self._take(MOST)  # also who came while this waited for the write lock
                for entry in entries:
                    entry.result = self._write(connection, entry.item)
        except Exception as error:  # noqa: BLE001 - raised in the request of each
            if len(entries) > 1:
                for entry in entries:  # one of them may be to blame
                    self._write_alone(entry)
            else:
                entries = entries or self._take(len(self._waiting))
                for entry in entries:
                    entry.error = error
        except BaseException:  # this thread ends: the next one writes them
            self._waiting.extendleft(reversed(entries))
            raise
        if results := [entry.result for entry in entries if entry.error is None]:
            self._committed(results)
        for entry in entries:
            entry.is_done = True

    def _write_alone(self, entry: _Entry[Item]) -> None:
        try:
            with self._engine.begin() as connection:
                entry.result = self._write(connection, entry.item)
        except Exception as error:  # noqa: BLE001 - raised in its request
            entry.error = error

    def _take(self, most: int) -> list[_Entry[Item]]:
        count = min(len(self._waiting), most)
        entries = [self._waiting.popleft() for _ in range(count)]
        return sorted(entries, key=lambda entry: self._order(entry.item))
