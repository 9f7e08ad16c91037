"""Ingest of a backlog: events a second, CPU and SQL of each, and holds of SQLite's write lock.

A backlog of texts with three photos, their repeats in another dialect, and calls with voicemails,
over 300 conversations and five readers, is read by one process and by two at once, in turns, on
SQLite and on PostgreSQL. The peer is a bare copy: the rows that came out, written again by plain
INSERT statements, one transaction a message.

    python -m benchmarks.ingest [--events 600] [--rounds 2]
"""

import argparse
import contextlib
import gc
import logging
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks import backlog, figures
from tests.support import servers, write_locks
from viewer import create_app
from viewer.extensions import Base, db
from viewer.intake import ingest

WARM_UP = 20  # events: caches of compiled statements, of the database


@dataclass
class Run:
    """What one process measured. Times are in seconds."""

    events: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    statements: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    holds: list[tuple[float, float]] = field(default_factory=list)  # time, and CPU


def work(settings: dict[str, Any], share: int, workers: int, barrier: Any, results: Any) -> None:
    """Read every event whose turn is ours, in a warm process."""
    logging.disable(logging.WARNING)
    with create_app(settings).app_context(), contextlib.ExitStack() as stack:
        run, recorder = Run(), None
        if db.engine.dialect.name == "sqlite":
            recorder = stack.enter_context(write_locks.recording(db.engine))
        counted = [0]
        sa.event.listen(
            db.engine, "before_cursor_execute", lambda *_: counted.__setitem__(0, counted[0] + 1)
        )
        ours = backlog.waiting()[share::workers]
        for event_id, _ in ours[:WARM_UP]:
            ingest.ingest(event_id)
            db.session.commit()
            db.session.remove()
        gc.collect()
        gc.freeze()  # as a worker's supervisor does: else a collection, 90 ms, is within a hold
        if recorder:
            recorder.holds.clear()
        barrier.wait()
        began, cpu = time.perf_counter(), time.process_time()
        for event_id, kind in ours[WARM_UP:]:
            before = counted[0]
            ingest.ingest(event_id)
            db.session.commit()
            db.session.remove()
            run.statements[kind].append(counted[0] - before)
            run.events += 1
        run.wall, run.cpu = time.perf_counter() - began, time.process_time() - cpu
        if recorder:
            run.holds = [(hold.seconds, hold.cpu) for hold in recorder.holds]
    results.put((run.events, run.wall, run.cpu, dict(run.statements), run.holds))


def at_once(settings: dict[str, Any], workers: int) -> list[Run]:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(workers), spawn.Queue()
    started = [
        spawn.Process(target=work, args=(settings, share, workers, barrier, results))
        for share in range(workers)
    ]
    for process in started:
        process.start()
    runs = [Run(*results.get(timeout=900)) for _ in started]
    for process in started:
        process.join()
    return runs


def bare_copy(settings: dict[str, Any]) -> Run:
    """Write the rows of each message again, and no more: one transaction a message."""
    run = Run()
    with create_app(settings).app_context(), contextlib.ExitStack() as stack:
        tables = ("messages", "media_attachments", "search_entries")
        found = {
            name: [
                dict(row)
                for row in db.session.execute(sa.select(Base.metadata.tables[name])).mappings()
            ]
            for name in tables
        }
        files = defaultdict(list)
        for row in found["media_attachments"]:
            files[row["message_id"]].append(row)
        words = {row["message_id"]: row for row in found["search_entries"] if row["message_id"]}
        for name in reversed(tables):
            db.session.execute(sa.delete(Base.metadata.tables[name]))
        db.session.commit()
        recorder = None
        if db.engine.dialect.name == "sqlite":
            recorder = stack.enter_context(write_locks.recording(db.engine))
        began, cpu = time.perf_counter(), time.process_time()
        for row in found["messages"]:
            with db.engine.begin() as connection:
                connection.execute(sa.insert(Base.metadata.tables["messages"]), row)
                for name, rows in (
                    ("media_attachments", files[row["id"]]),
                    ("search_entries", [words[row["id"]]] if row["id"] in words else []),
                ):
                    if rows:
                        connection.execute(sa.insert(Base.metadata.tables[name]), rows)
        run.wall, run.cpu = time.perf_counter() - began, time.process_time() - cpu
        run.events = len(found["messages"])
        if recorder:
            run.holds = [(hold.seconds, hold.cpu) for hold in recorder.holds]
        db.engine.dispose()
    return run


Settings = Callable[[], dict[str, Any]]  # makes those of a fresh database


@contextlib.contextmanager
def databases() -> Iterator[dict[str, Settings]]:
    folder = Path(tempfile.mkdtemp(prefix="ingest"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)

        def room() -> Path:
            return Path(tempfile.mkdtemp(dir=folder))

        def on_sqlite() -> dict[str, Any]:
            place = room()
            return {"DATA_DIR": place, "DATABASE_URL": f"sqlite:///{place}/viewer.db"}

        server = stack.enter_context(servers.running_postgres())

        def on_postgres() -> dict[str, Any]:
            return {"DATA_DIR": room(), "DATABASE_URL": server.url(server.create())}

        yield {"SQLite": on_sqlite, "PostgreSQL": on_postgres}


def compare(report: figures.Report, name: str, make: Settings, events: int, rounds: int) -> None:
    """One process, two at once, and the bare copy, in turns."""
    one: list[Run] = []
    two: list[list[Run]] = []
    for number in range(rounds * 2):
        workers = number % 2 + 1
        settings = make() | {"QUO_NUMBERS": "+16175550100", "LOG_LEVEL": "ERROR"}
        backlog.prepare(create_app(settings), events)
        runs = at_once(settings, workers)
        if workers == 1:
            one += runs
        else:
            two.append(runs)
    bare = bare_copy(settings)
    rate_1 = statistics.mean(run.events / run.wall for run in one)
    rate_2 = statistics.mean(
        sum(run.events for run in runs) / max(run.wall for run in runs) for runs in two
    )
    mine = statistics.mean(run.cpu / run.events for run in one)
    copied = bare.cpu / bare.events
    both = statistics.mean(run.cpu / run.events for runs in two for run in runs)
    report.say(f"{name}, {events:,} events, warm processes")
    report.say(f"  one process: {rate_1:.0f} events/s, {mine * 1000:.1f} ms CPU each")
    report.say(
        f"  two at once: {rate_2:.0f} events/s, {both * 1000:.1f} ms CPU each: "
        f"{rate_2 / rate_1:.2f} times one"
    )
    report.say(
        f"  bare copy of the same rows: {bare.events / bare.wall:.0f} messages/s, "
        f"{copied * 1000:.1f} ms CPU each"
    )
    for kind in backlog.KINDS:
        counts = [count for run in one for count in run.statements[kind]]
        report.say(
            f"  SQL statements, {kind}: median {statistics.median(counts):.0f}, most {max(counts)}"
        )
    if name == "PostgreSQL":
        report.add(
            "ingest.workers", rate_2 / rate_1, detail=f"{rate_2:.0f} of {rate_1:.0f} events/s"
        )
        return
    report.add("ingest.cpu", mine / copied, detail=f"{mine * 1000:.1f} of {copied * 1000:.1f} ms")
    pairs = [run for pair in two for run in pair]
    for who, runs in (("one process", one), ("two at once", pairs), ("bare copy", [bare])):
        times, cpus = zip(*(hold for run in runs for hold in run.holds), strict=True)
        report.say(f"  write lock held, {who}: {spread(times)}; CPU {spread(cpus)}")
        if who == "one process":
            for key, share in (("ingest.lock.median", 0.5), ("ingest.lock.p99", 0.99)):
                cpu = figures.quantile(list(cpus), share) * 1000
                held = figures.quantile(list(times), share) * 1000
                report.add(key, held, "ms", f"{cpu:.1f} ms CPU")


def spread(seconds: Sequence[float]) -> str:
    middle, most = (figures.quantile(list(seconds), share) * 1000 for share in (0.5, 0.99))
    return f"median {middle:.1f} ms, p99 {most:.1f} ms, worst {max(seconds) * 1000:.1f} ms"


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    logging.disable(logging.WARNING)
    with databases() as found:
        for name, make in found.items():
            compare(report, name, make, asked.events, asked.rounds)


if __name__ == "__main__":
    figures.run(__doc__, measure, events=(600, 60), rounds=(2, 1))
