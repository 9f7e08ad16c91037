"""The webhook: alone, beside a backlog, and against the plain design, each with a peer in one run.

The bare door is what no webhook can do without, behind the same server on the same database: check
the signature, insert one durable row, answer. The plain design downloads the photos within the
request, from a host 50 ms away. Doors that are compared are asked in turns, by the same clients.

    python -m benchmarks.door [--seconds 5] [--rounds 2] [--before REVISION]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import reduce
from operator import add
from pathlib import Path

from benchmarks import figures, hosts
from benchmarks.burst import media_host
from benchmarks.clients import Clients, Run
from tests.support import servers

AWAY = 0.05  # seconds to the host of the photos
PHOTOS = 3  # in a message


@contextmanager
def peer(design: str, database: str = "") -> Iterator[tuple[int, int]]:
    """Its port and process."""
    with tempfile.TemporaryDirectory() as folder:
        port = servers.free_port()
        command = [sys.executable, "-m", "benchmarks.bare_door", folder, design, str(port)]
        with hosts.serving([*command, *filter(None, [database])], port) as pid:
            yield port, pid


@contextmanager
def our_door(checkout: Path, database: str = "") -> Iterator[tuple[int, int]]:
    """The web server of the viewer and a Valkey, without workers: its port and process."""
    with tempfile.TemporaryDirectory() as folder, servers.running_valkey() as valkey:
        environment = {
            "DATA_DIR": folder, "REDIS_URL": valkey, "QUO_WEBHOOK_SECRETS": hosts.SECRET,
            "LOG_LEVEL": "WARNING", "DATABASE_URL": database,
        }  # fmt: skip
        subprocess.run(
            [*hosts.VIEWER, "db", "upgrade"], cwd=checkout, check=True, capture_output=True,
            env=os.environ | {"PYTHONPATH": str(checkout)} | environment,
        )  # fmt: skip
        port = servers.free_port()
        command = [*hosts.VIEWER, "web", "--port", str(port)]
        with hosts.serving(command, port, checkout, **environment) as pid:
            yield port, pid


def alone(
    stack: ExitStack, clients: Clients, checkouts: dict[str, Path], asked: argparse.Namespace,
    server: servers.Postgres | None = None,
) -> dict[str, Run]:  # fmt: skip
    """The bare door and ours, in turns, while nobody ingests."""

    def database() -> str:
        return server.url(server.create()) if server else ""

    doors = {"bare": stack.enter_context(peer("bare", database()))}
    for name, checkout in checkouts.items():
        doors[name] = stack.enter_context(our_door(checkout, database()))
    runs: dict[str, list[Run]] = {name: [] for name in doors}
    for turn in range(asked.rounds):
        for name, (port, pid) in doors.items():
            runs[name].append(clients.measure(port, pid, asked.seconds, turn))
    return {name: reduce(add, found) for name, found in runs.items()}


def beside_backlog(checkout: Path, clients: Clients, backlog: Clients, seconds: float) -> Run:
    """While two workers ingest what came at once."""
    with hosts.running(checkout) as host:
        backlog.send_all(host.port)
        return clients.measure(host.port, host.process.pid, seconds)


def against_plain(url: str, asked: argparse.Namespace) -> tuple[Run, Run]:
    """Three photos in each message. Each turn is a viewer of its own, whose workers have ended."""
    media = [f"{url}/{number}" for number in range(PHOTOS)]
    ours, plain = [], []
    with Clients(asked.requests // 10, media) as few, Clients(asked.requests // 4, media) as many:
        for _ in range(asked.rounds):
            with peer("plain") as (port, pid):
                plain.append(few.measure(port, pid, asked.seconds))
            with hosts.running() as host:
                ours.append(many.measure(host.port, host.process.pid, asked.seconds))
    return reduce(add, ours), reduce(add, plain)


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    with ExitStack() as stack:
        checkouts = {"now": hosts.CHECKOUT}
        if before := stack.enter_context(hosts.commit(asked.before)):
            checkouts[asked.before] = before
        clients = stack.enter_context(Clients(asked.requests, rounds=asked.rounds))
        backlog = stack.enter_context(Clients(asked.backlog, first=1_000_000))
        with ExitStack() as doors:
            idle = alone(doors, clients, checkouts, asked)
        _compare_with_bare(report, "SQLite", idle)
        for name, checkout in checkouts.items():
            late = [
                beside_backlog(checkout, clients, backlog, asked.seconds)
                for _ in range(asked.rounds if name == "now" else 1)
            ]
            _compare_with_idle(report, name, reduce(add, late), idle[name], asked.backlog)
        with ExitStack() as doors:
            server = doors.enter_context(servers.running_postgres(is_durable=True))
            found = alone(doors, clients, {"now": hosts.CHECKOUT}, asked, server)
        _compare_with_bare(report, "PostgreSQL", found)
        with media_host(AWAY) as url:
            _compare_with_plain(report, *against_plain(url, asked))


def _compare_with_bare(report: figures.Report, database: str, runs: dict[str, Run]) -> None:
    bare = runs.pop("bare")
    for name, run in runs.items():
        key, earlier = f"door.{database.lower()}", name != "now"
        rate, cpu = run.rate / bare.rate, run.cpu_each / bare.cpu_each
        report.add(
            f"{key}.rate", rate, detail=f"{run.rate:,.0f} of {bare.rate:,.0f}/s", before=earlier
        )
        report.add(
            f"{key}.cpu", cpu, detail=f"{run.cpu_each:.2f} of {bare.cpu_each:.2f} ms",
            before=earlier,
        )  # fmt: skip
        report.say(
            f"webhook alone, {database}, {name}: {run}; bare door {bare}: "
            f"{rate:.2f} of its rate, {cpu:.1f} times its CPU"
        )
    if database == "SQLite":
        _draw(report, "alone", runs["now"])
        _draw(report, "bare", bare)


def _compare_with_idle(
    report: figures.Report, name: str, late: Run, idle: Run, backlog: int
) -> None:
    earlier = name != "now"
    p99, rate = late.at(0.99) / idle.at(0.99), late.rate / idle.rate
    report.add(
        "door.backlog.p99", p99, detail=f"{late.at(0.99):.0f} of {idle.at(0.99):.0f} ms",
        before=earlier,
    )  # fmt: skip
    report.add(
        "door.backlog.rate", rate, detail=f"{late.rate:,.0f} of {idle.rate:,.0f}/s", before=earlier
    )
    report.say(
        f"beside a backlog of {backlog:,} events, {name}: {late}; "
        f"p99 {p99:.1f} times that of the webhook alone, {rate:.2f} of its rate"
    )
    _draw(report, "backlog before" if earlier else "backlog", late)


def _compare_with_plain(report: figures.Report, ours: Run, plain: Run) -> None:
    rate, p99 = ours.rate / plain.rate, ours.at(0.99) / plain.at(0.5)
    report.add("door.plain.rate", rate, detail=f"{ours.rate:,.0f} of {plain.rate:,.0f}/s")
    report.add("door.plain.p99", p99, detail=f"{ours.at(0.99):.0f} of {plain.at(0.5):.0f} ms")
    report.say(
        f"three photos in each: {ours}; plain design {plain}: "
        f"{rate:.1f} times its rate, p99 {p99:.2f} of its p50"
    )
    _draw(report, "plain", plain)
    _draw(report, "photos", ours)


def _draw(report: figures.Report, name: str, run: Run) -> None:
    report.curves[f"door.{name}"] = figures.quantiles([took * 1000 for took in run.times])


if __name__ == "__main__":
    figures.run(
        __doc__, measure, has_before=True,
        seconds=(5.0, 0.4), rounds=(2, 1), requests=(30_000, 600), backlog=(2_000, 40),
    )  # fmt: skip
