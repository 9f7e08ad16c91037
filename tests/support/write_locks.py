"""Record every hold of SQLite's write lock: how long, and which statements ran inside."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa


@dataclass
class Hold:
    """One write transaction, from BEGIN IMMEDIATE to the end of COMMIT or ROLLBACK."""

    began_at: float  # of time.perf_counter
    thread: int
    statements: list[str] = field(default_factory=list)
    seconds: float = 0.0
    is_committed: bool = False

    def __str__(self) -> str:
        return "\n".join(self.statements)


@dataclass
class Recorder:
    """The holds that ended, and those that are open now, by DBAPI connection."""

    holds: list[Hold] = field(default_factory=list)
    open: dict[int, Hold] = field(default_factory=dict)
    statements: int = 0  # of all transactions, those that only read included

    @property
    def is_held_here(self) -> bool:
        """Whether this thread holds the write lock now."""
        return any(hold.thread == threading.get_ident() for hold in list(self.open.values()))


@contextlib.contextmanager
def recording(engine: sa.Engine) -> Iterator[Recorder]:
    """Record the write transactions of this engine. Its connections are made anew for it."""
    recorder = Recorder()
    dialect: Any = engine.dialect

    def trace(connection: Any, _record: object) -> None:
        key = id(connection)

        def told(statement: str) -> None:
            if statement == "BEGIN IMMEDIATE":  # also each attempt that found the lock taken
                recorder.open[key] = Hold(time.perf_counter(), threading.get_ident())
                return
            if statement.startswith(("BEGIN", "PRAGMA", "COMMIT", "ROLLBACK", "--")):
                return  # "--" is what a trigger does
            recorder.statements += 1
            if key in recorder.open:
                recorder.open[key].statements.append(statement)

        connection.set_trace_callback(told)

    def ending(end: Any, *, is_committed: bool) -> Any:
        def ended(connection: Any) -> None:
            end(connection)
            hold = recorder.open.pop(id(connection.dbapi_connection), None)
            if hold is not None:
                hold.seconds = time.perf_counter() - hold.began_at
                hold.is_committed = is_committed
                recorder.holds.append(hold)

        return ended

    engine.dispose()
    sa.event.listen(engine, "connect", trace)
    dialect.do_commit = ending(dialect.do_commit, is_committed=True)
    dialect.do_rollback = ending(dialect.do_rollback, is_committed=False)
    try:
        yield recorder
    finally:
        del dialect.do_commit, dialect.do_rollback
        sa.event.remove(engine, "connect", trace)
        engine.dispose()
