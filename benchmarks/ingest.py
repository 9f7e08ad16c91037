"""Ingest of a backlog: events a second, CPU and SQL of each, and holds of SQLite's write lock.

A backlog of texts with three photos, their repeats in another dialect, and calls with voicemails,
over 300 conversations and five readers, is read by one process and by two at once, in turns, on
SQLite and on PostgreSQL. The peer is a bare copy: the rows that came out, written again by plain
INSERT statements, one transaction a message.

    python -m benchmarks.ingest [--events 2000] [--rounds 2] [--only sqlite]
"""

import argparse
import contextlib
import json
import logging
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flask_migrate
import sqlalchemy as sa
from flask import Flask

from tests.payloads import Message as Text
from tests.payloads import load
from tests.support import servers, write_locks
from viewer import create_app
from viewer.extensions import Base, db
from viewer.intake import ingest
from viewer.models import User, WebhookEvent

CONVERSATIONS, READERS = 300, 5
BEGAN = datetime(2026, 9, 21, 8, tzinfo=UTC)
KINDS = "text with 3 photos", "repeat", "call"


@dataclass
class Run:
    """What one process measured. Times are in seconds."""

    events: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    statements: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    holds: list[tuple[float, float]] = field(default_factory=list)  # time, and CPU


def customer(number: int) -> str:
    return f"+1{201 + number // 100}5550{100 + number % 100}"


def payload(number: int) -> tuple[str, dict[str, Any]]:
    """One of the backlog: of ten, seven texts, a repeat, a call, and the call's voicemail."""
    place = number % 10
    if place == 7:
        return "repeat", text(number - 7).payload("d1")
    if place < 7:
        return "text with 3 photos", text(number).payload("d3")
    sample = load("d3_call_missed" if place == 8 else "d3_call_voicemail")
    group = (number // 10) % CONVERSATIONS
    told = json.dumps(sample).replace("+16175550123", customer(group))
    for name, new in (("ACcall-demo-21", f"ACcall-bench-{number // 10}"),
                      ("CNdemo1", f"CNbench{group}"), ("PNdemo1", "PNtest"),
                      ("VMdemo1", f"VMbench{number}"), ("ACvm-demo-1", f"ACvm-bench-{number}"),
                      ("demo-vm-2", f"bench-vm-{number}")):  # fmt: skip
        told = told.replace(name, new)
    return "call", json.loads(told)


def text(number: int) -> Text:
    place = (number * 7) % CONVERSATIONS
    return Text(
        number=number,
        text=f"The crack number {number} is by the window, the other one by the stairs",
        media=[f"https://media.example.com/bench/{number:x}/{one}.jpg" for one in range(3)],
        sender=customer(place),
        conversation=f"CNbench{place}",
        sent_at=BEGAN + timedelta(seconds=number),
    )


def prepare(app: Flask, events: int) -> None:
    """The tables, the readers and the backlog."""
    with app.app_context():
        flask_migrate.upgrade()
        for number in range(READERS):
            db.session.add(
                User(email=f"reader{number}@bench.example", created_at=BEGAN - timedelta(days=1))
            )
        for number in range(events):
            kind, told = payload(number)
            event = WebhookEvent(
                delivery_id=f"bench-{number}", scheme="standard", body=json.dumps(told).encode(),
                received_at=BEGAN + timedelta(seconds=number), kind=kind,
            )  # fmt: skip
            db.session.add(event)
        db.session.commit()
        db.engine.dispose()


def backlog() -> list[tuple[uuid.UUID, str]]:
    found = db.session.execute(
        sa.select(WebhookEvent.id, WebhookEvent.kind).order_by(WebhookEvent.received_at)
    ).all()
    db.session.rollback()
    return [(row.id, row.kind or "") for row in found]


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
        ours = backlog()[share::workers]
        for event_id, _ in ours[:20]:  # warm: caches of compiled statements, of the database
            ingest.ingest(event_id)
            db.session.commit()
            db.session.remove()
        if recorder:
            recorder.holds.clear()
        barrier.wait()
        began, cpu = time.perf_counter(), time.process_time()
        for event_id, kind in ours[20:]:
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


@contextlib.contextmanager
def databases(only: str | None) -> Iterator[list[tuple[str, Any]]]:
    """For each database, a function that makes the settings of a fresh one."""
    folder = Path(tempfile.mkdtemp(prefix="ingest"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)

        def room() -> Path:
            return Path(tempfile.mkdtemp(dir=folder))

        def on_sqlite() -> dict[str, Any]:
            place = room()
            return {"DATA_DIR": place, "DATABASE_URL": f"sqlite:///{place}/viewer.db"}

        found: list[tuple[str, Any]] = []
        if only in (None, "sqlite"):
            found.append(("SQLite", on_sqlite))
        if only in (None, "postgresql"):
            server = stack.enter_context(servers.running_postgres())
            found.append(
                ("PostgreSQL",
                 lambda: {"DATA_DIR": room(), "DATABASE_URL": server.url(server.create())})
            )  # fmt: skip
        yield found


def measure(name: str, make: Any, events: int, rounds: int) -> None:
    one: list[Run] = []
    two: list[list[Run]] = []
    for number in range(rounds * 2):
        workers = number % 2 + 1
        settings = make() | {"QUO_NUMBERS": "+16175550100", "LOG_LEVEL": "ERROR"}
        prepare(create_app(settings), events)
        runs = at_once(settings, workers)
        if workers == 1:
            one += runs
        else:
            two.append(runs)
        if number == rounds * 2 - 1:
            bare = bare_copy(settings)
    rate_1 = statistics.mean(run.events / run.wall for run in one)
    rate_2 = statistics.mean(
        sum(run.events for run in runs) / max(run.wall for run in runs) for runs in two
    )
    mine = statistics.mean(run.cpu / run.events for run in one)
    print(f"{name}, {events:,} events, warm processes")
    print(f"  one process: {rate_1:.0f} events/s, {mine * 1000:.1f} ms CPU each")
    both = [run.cpu / run.events for runs in two for run in runs]
    print(
        f"  two at once: {rate_2:.0f} events/s, {statistics.mean(both) * 1000:.1f} ms CPU each: "
        f"{rate_2 / rate_1:.2f} times one"
    )
    print(f"  bare copy of the same rows: {bare.events / bare.wall:.0f} messages/s, "
          f"{bare.cpu / bare.events * 1000:.1f} ms CPU each")  # fmt: skip
    for kind in KINDS:
        counts = [count for run in one for count in run.statements[kind]]
        print(f"  SQL statements, {kind}: median {statistics.median(counts):.0f}, "
              f"most {max(counts)}")  # fmt: skip
    pairs = [run for pair in two for run in pair]
    for who, runs in (("one process", one), ("two at once", pairs), ("bare copy", [bare])):
        holds = [hold for run in runs for hold in run.holds]
        if holds:
            print(
                f"  write lock held, {who}: {spread([time for time, _ in holds])}; "
                f"CPU {spread([cpu for _, cpu in holds])}"
            )


def spread(seconds: list[float]) -> str:
    told = sorted(one * 1000 for one in seconds)
    return (
        f"median {statistics.median(told):.1f} ms, p99 {told[int(len(told) * 0.99)]:.1f} ms, "
        f"worst {told[-1]:.1f} ms"
    )


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    asked = parser.parse_args(words)
    logging.disable(logging.WARNING)
    with databases(asked.only) as found:
        for name, make in found:
            measure(name, make, asked.events, asked.rounds)


if __name__ == "__main__":
    main(sys.argv[1:])
