"""Record every hold of SQLite's write lock: how long, which statements, and what else was done."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import sqlalchemy as sa

# Audit events (PEP 578) of what may take any time: files, folders, the network, child processes.
SLOW = ("open", "os.", "shutil.", "socket.", "subprocess.", "tempfile.")
HARMLESS = ("socket.gethostname", "os.putenv", "os.unsetenv")


@dataclass
class Hold:
    """One write transaction, from BEGIN IMMEDIATE to the end of COMMIT or ROLLBACK."""

    began_at: float  # of time.perf_counter
    thread: int
    statements: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)  # what does not belong into it
    seconds: float = 0.0
    cpu: float = field(default_factory=time.thread_time)  # seconds of its thread's, at the end
    is_committed: bool = False

    def __str__(self) -> str:
        return "\n".join(self.statements)


@dataclass
class Recorder:
    """The holds that ended, and those that are open now, by DBAPI connection."""

    holds: list[Hold] = field(default_factory=list)
    open: dict[int, Hold] = field(default_factory=dict)

    def held_here(self) -> Hold | None:
        """The write transaction that this thread has open."""
        ours = (hold for hold in list(self.open.values()) if hold.thread == threading.get_ident())
        return next(ours, None)


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
            hold = recorder.open.get(key)
            # A trigger is told by its statement once more; the full text has a table of its own.
            if hold and statement not in hold.statements[-1:] and "_config'" not in statement:
                hold.statements.append(statement)

        connection.set_trace_callback(told)

    def ending(end: Any, *, is_committed: bool) -> Any:
        def ended(connection: Any) -> None:
            end(connection)
            hold = recorder.open.pop(id(connection.dbapi_connection), None)
            if hold is not None:
                hold.seconds = time.perf_counter() - hold.began_at
                hold.cpu = time.thread_time() - hold.cpu
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


@contextlib.contextmanager
def watching(recorder: Recorder, *functions: Callable[..., Any]) -> Iterator[None]:
    """Note in each hold of this thread what is slow: files, network, and calls of `functions`."""
    codes = {function.__code__: function.__qualname__ for function in functions}  # type: ignore[attr-defined]

    def audited(event: str, arguments: tuple[Any, ...]) -> None:
        if _watched and event.startswith(SLOW) and event not in HARMLESS:
            for watched in list(_watched):
                if hold := watched.held_here():
                    hold.slow.append(f"{event} {arguments[:1]}")

    def called(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code in codes and (hold := recorder.held_here()):
            hold.slow.append(codes[frame.f_code])

    if not _audits:  # a hook stays for good: one for all tests
        _audits.append(audited)
        sys.addaudithook(audited)
    _watched.append(recorder)
    sys.setprofile(called)
    try:
        yield
    finally:
        sys.setprofile(None)
        _watched.remove(recorder)


_watched: list[Recorder] = []
_audits: list[Any] = []
