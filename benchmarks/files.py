"""How quickly a file is served: by the viewer alone, behind nginx, and by nginx alone.

A small store is filled, and `viewer web` started on it twice: as it is, and behind nginx with
X-Accel. Clients of the benchmark's own, in processes of their own, ask for thumbnails over
connections that stay open, and then for an original of 5 MB. nginx alone serves the same files of
the same folder, asked by the same clients.

    python -m benchmarks.files [--seconds 2] [--rounds 3] [--before REVISION]
"""

import argparse
import multiprocessing
import multiprocessing.pool
import os
import re
import shutil
import socket
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import flask_migrate

from benchmarks import figures, hosts
from benchmarks.file_store import Stored, fill, nginx_before, settings, viewer_web
from tests.support import staff
from viewer import create_app
from viewer.extensions import db

CLIENTS, LARGE_CLIENTS = 8, 4
THUMBNAILS = 200
LARGE = 5_000_000  # bytes
NGINX = "nginx alone"


def ask_for(port: int, cookie: str, paths: list[str], seconds: float) -> tuple[int, int]:
    """Ask for one after the other; how many answers, and bytes in them."""
    count = received = 0
    buffer = bytearray(1 << 18)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            path = paths[count % len(paths)]
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode()
            )
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1 << 16)
            start, _, rest = head.partition(b"\r\n\r\n")
            assert start.startswith(b"HTTP/1.1 200"), start
            length = content_length(start)
            left = length - len(rest)
            while left:
                left -= connection.recv_into(buffer, min(left, len(buffer)))
            count, received = count + 1, received + length
    return count, received


def content_length(head: bytes) -> int:
    found = re.search(rb"(?i)content-length: (\d+)", head)
    assert found, head
    return int(found[1])


@dataclass(frozen=True)
class Rate:
    requests: float  # a second
    cpu: float  # milliseconds of the servers for each

    def __str__(self) -> str:
        return f"{self.requests:9,.0f} /s {self.cpu:8.2f} ms CPU each"


def ask(
    pool: multiprocessing.pool.Pool,
    server: tuple[int, tuple[int, ...]],
    paths: list[str],
    cookie: str,
    seconds: float,
    clients: int = CLIENTS,
) -> Rate:
    port, processes = server
    before, begun = hosts.cpu_of(*processes), time.monotonic()
    asked = [(port, cookie, paths[n:] + paths[:n], seconds) for n in range(clients)]
    done = pool.starmap(ask_for, asked, chunksize=1)
    took = time.monotonic() - begun
    count = sum(answers_ for answers_, _ in done)
    return Rate(count / took, (hosts.cpu_of(*processes) - before) * 1000 / count)


def copy_for(checkout: Path, folder: Path, name: str) -> Path:
    """The same files, and a copy of the database at the version that this checkout knows."""
    own = folder / name
    own.mkdir()
    (own / "media").symlink_to(folder / "media")
    shutil.copy(folder / "viewer.db", own / "viewer.db")
    newest = max(path.name for path in (checkout / "migrations" / "versions").glob("*.py"))
    with create_app(settings(own)).app_context():
        flask_migrate.downgrade(revision=newest[:4])
        db.engine.dispose()
    return own


def log_in(port: int) -> str:
    browser = staff.enter(f"http://127.0.0.1:{port}")
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies)


Rates = dict[str, tuple[list[Rate], list[Rate]]]  # thumbnails, and 5 MB


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        checkouts = {"now": hosts.CHECKOUT}
        if before := stack.enter_context(hosts.commit(asked.before)):
            checkouts[asked.before] = before
        files = fill(folder, [1_000] * THUMBNAILS + [LARGE])
        staff.hire(os.environ | settings(folder))
        pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(CLIENTS))
        rates = compare(stack, pool, checkouts, folder, files, asked)
    middle = {name: (median(small), median(large)) for name, (small, large) in rates.items()}
    report.say(f"thumbnails of 27 kB, {CLIENTS} connections")
    for name, (small, _) in middle.items():
        report.say(f"  {name:24} {small}")
    report.say(f"an original of 5 MB, {LARGE_CLIENTS} connections")
    for name, (_, large) in middle.items():
        report.say(f"  {name:24} {large}")
    _, peer = middle[NGINX]
    for checkout in checkouts:
        for place, key in (("viewer alone", "alone"), ("behind nginx", "nginx")):
            small, large = middle[f"{checkout}: {place}"]
            is_before = checkout != "now"
            report.add(
                f"files.thumbnails.{key}", small.requests, "/s", f"{small.cpu:.2f} ms CPU",
                before=is_before,
            )  # fmt: skip
            report.add(
                f"files.large.{key}", large.requests / peer.requests,
                detail=f"{large.requests:,.0f} of {peer.requests:,.0f}/s", before=is_before,
            )  # fmt: skip


def compare(
    stack: ExitStack,
    pool: multiprocessing.pool.Pool,
    checkouts: dict[str, Path],
    folder: Path,
    files: list[Stored],
    asked: argparse.Namespace,
) -> Rates:
    servers: dict[str, tuple[int, tuple[int, ...]]] = {}
    for name, checkout in checkouts.items():
        own = copy_for(checkout, folder, name)
        port, process = stack.enter_context(viewer_web(own, checkout))
        servers[f"{name}: viewer alone"] = port, (process,)
        behind, process = stack.enter_context(viewer_web(own, checkout, X_ACCEL_PREFIX="/stored"))
        front, nginx = stack.enter_context(nginx_before(behind, own))
        servers[f"{name}: behind nginx"] = front, (process, nginx)
    servers[NGINX] = front, (nginx,)
    cookies = {name: log_in(servers[f"{name}: viewer alone"][0]) for name in checkouts}
    rates: Rates = {name: ([], []) for name in servers}
    for turn in range(asked.rounds + 1):  # the first warms up
        seconds = asked.seconds if turn else asked.seconds / 4
        for name, server in servers.items():
            is_plain = name == NGINX
            cookie = cookies.get(name.partition(":")[0], "")
            paths = [
                f"/plain/{one.thumbnail}" if is_plain else f"/media/{one.id}/thumbnail"
                for one in files[:THUMBNAILS]
            ]
            small = ask(pool, server, paths, cookie, seconds)
            last = files[-1]
            paths = [f"/plain/{last.original}" if is_plain else f"/media/{last.id}"]
            large = ask(pool, server, paths, cookie, seconds, clients=LARGE_CLIENTS)
            if turn:
                rates[name][0].append(small)
                rates[name][1].append(large)
    return rates


def median(found: list[Rate]) -> Rate:
    return Rate(
        statistics.median(one.requests for one in found),
        statistics.median(one.cpu for one in found),
    )


if __name__ == "__main__":
    figures.run(__doc__, measure, has_before=True, seconds=(1.5, 0.3), rounds=(3, 1))
