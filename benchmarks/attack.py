"""Deliveries while strangers hold what they can: slow requests, unread downloads, forged bodies.

Twenty deliveries a second go to `viewer web`, alone and under attack in turns. All run on one
machine, the attackers too: part of what is lost is their own processor time.

    python -m benchmarks.attack [--seconds 5] [--rounds 6] [--before REVISION]
"""

import argparse
import itertools
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import flask_migrate

from benchmarks import figures, hosts
from benchmarks.clients import request
from benchmarks.file_store import settings, viewer_web
from tests.support import attacks
from viewer import create_app
from viewer.extensions import db
from viewer.upkeep import identity

EVERY = 0.05  # seconds
ALONE = "alone"
ATTACKS = {
    "slow requests": {"heads": 200},
    "unread downloads": {"unread": 100},
    "forged deliveries": {"floods": 1},
    "all at once": {"heads": 200, "unread": 100, "floods": 1},
}


@contextmanager
def door(checkout: Path) -> Iterator[tuple[int, int, str]]:
    """A viewer with a share link: its port, its process, and the path of a large file."""
    with tempfile.TemporaryDirectory() as folder:
        words = {"QUO_WEBHOOK_SECRETS": hosts.SECRET}
        with create_app(settings(Path(folder), **words)).app_context():
            flask_migrate.upgrade()
            identity.ensure()
            path = attacks.share_large_file()
            db.session.remove()
            db.engine.dispose()
        with viewer_web(Path(folder), checkout, **words) as (port, pid):
            yield port, pid, path


def deliver(port: int, numbers: Iterator[int], seconds: float) -> list[float]:
    """One delivery every `EVERY` seconds. Seconds until each answer."""
    took = []
    end = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < end:
            sent = request(next(numbers))
            begun = time.monotonic()
            line.sendall(sent)
            answer = line.recv(4096)
            took.append(time.monotonic() - begun)
            assert answer.startswith(b"HTTP/1.1 204"), answer
            time.sleep(EVERY)
    return took


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    numbers = itertools.count()
    with ExitStack() as stack:
        checkouts = {"now": hosts.CHECKOUT}
        if before := stack.enter_context(hosts.commit(asked.before)):
            checkouts[asked.before] = before
        for name, checkout in checkouts.items():
            found: dict[str, list[float]] = {ALONE: [], **{attack: [] for attack in ATTACKS}}
            with door(checkout) as (port, _, path):
                for _ in range(asked.rounds):
                    for attack, times in found.items():
                        with attacks.attacked(port, path, **ATTACKS.get(attack, {})):
                            times += deliver(port, numbers, asked.seconds)
            for attack, times in found.items():
                report.say(f"{name}, {attack}: {describe(times, found[ALONE])}")


def describe(times: list[float], alone: list[float]) -> str:
    parts = [f"{len(times)} deliveries"]
    for share, name in ((0.5, "median"), (0.99, "p99")):
        took, usual = figures.quantile(times, share), figures.quantile(alone, share)
        parts.append(f"{name} {took * 1000:.1f} ms ({took / usual:.2f} times)")
    return ", ".join(parts)


if __name__ == "__main__":
    figures.run(__doc__, measure, has_before=True, seconds=(5.0, 0.4), rounds=(6, 1))
