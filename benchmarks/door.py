"""The webhook: alone, beside a backlog, and against the plain design, each with a peer in one run.

The bare door is what no webhook can do without, behind the same server on the same SQLite settings:
check the signature, insert one durable row, answer. The plain design downloads the photos within
the request. The clients speak through raw sockets and cost little.

    python -m benchmarks.door [--seconds 8] [--before REVISION]
"""

import argparse
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import hosts
from benchmarks.burst import media_host
from tests.payloads import Message, signed
from tests.support import servers

BACKLOG = 2_000  # events
WARM_UP = 1_000  # requests that are sent before the clock runs


@dataclass
class Run:
    """What a number of clients saw of a door for some seconds."""

    times: list[float]  # seconds until each answer
    seconds: float
    cpu: float  # seconds, of the server's processes

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds

    def at(self, share: float) -> float:
        """This quantile, in milliseconds."""
        return sorted(self.times)[int(len(self.times) * share)] * 1000

    def __str__(self) -> str:
        each = self.cpu / len(self.times) * 1000
        return (
            f"{self.rate:.0f}/s, p50 {self.at(0.5):.1f} ms, p99 {self.at(0.99):.1f} ms, "
            f"{each:.2f} ms CPU each"
        )


def requests(first: int, count: int, media: list[str]) -> list[bytes]:
    """Whole HTTP requests, each a delivery of its own."""
    made = []
    for number in range(first, first + count):
        message = Message(
            number=number, media=media, sender=f"+1617555{100 + number % 50:04d}",
            conversation=f"CNbench{number % 50}",
        )  # fmt: skip
        body, headers = signed(message.payload(), "standard", hosts.SECRET)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(
            ["POST /webhooks/quo HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}",
             *lines]
        )  # fmt: skip
        made.append(head.encode() + b"\r\n\r\n" + body)
    return made


def ask(port: int, ready: list[bytes], seconds: float, clients: int) -> list[float]:
    """Send them, so many at once, for so many seconds. Seconds until each answer."""
    end = time.monotonic() + seconds

    def client(share: int) -> list[float]:
        took: list[float] = []
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for request in ready[share::clients]:
                begun = time.monotonic()
                if begun > end:
                    break
                line.sendall(request)
                answer = line.recv(4096)
                took.append(time.monotonic() - begun)
                assert answer.startswith((b"HTTP/1.1 204", b"HTTP/1.0 204")), answer
                if b"connection: close" in answer.lower():
                    raise RuntimeError("the server does not keep connections")
        return took

    with ThreadPoolExecutor(clients) as pool:
        return [took for times in pool.map(client, range(clients)) for took in times]


class Clients:
    """In a process of its own, with their requests made before the clock runs."""

    def __init__(self, count: int = 6_000, media: list[str] | None = None, first: int = 0) -> None:
        self._pool = multiprocessing.get_context("spawn").Pool(1)
        self._ready = requests(first, count, media or [])

    def measure(self, port: int, pid: int, seconds: float) -> Run:
        first = WARM_UP if len(self._ready) > WARM_UP else 0
        if first:
            self._pool.apply(ask, (port, self._ready[:first], 1.0, hosts.CLIENTS))
        before, begun = _cpu(pid), time.monotonic()
        times = self._pool.apply(ask, (port, self._ready[first:], seconds, hosts.CLIENTS))
        return Run(times, time.monotonic() - begun, _cpu(pid) - before)

    def send_all(self, port: int) -> int:
        """How many were answered."""
        return len(self._pool.apply(ask, (port, self._ready, 600.0, hosts.CLIENTS)))

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


def _cpu(pid: int) -> float:
    root = psutil.Process(pid)
    return sum(sum(one.cpu_times()[:4]) for one in [root, *root.children(recursive=True)])


@contextmanager
def server(command: list[str], checkout: Path, **environment: str) -> Iterator[int]:
    """The pid of a program that serves on the port, the last of its words."""
    port = int(command[-1])
    process = subprocess.Popen(
        command, cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)} | environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    try:
        hosts.wait(listens, 60)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def peer(design: str, clients: Clients, seconds: float) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        port = servers.free_port()
        module = [sys.executable, "-m", "benchmarks.bare_door", folder]
        command = [*module, design, str(port)]
        with server(command, hosts.CHECKOUT) as pid:
            return clients.measure(port, pid, seconds)


def alone(checkout: Path, clients: Clients, seconds: float) -> Run:
    """Nobody ingests meanwhile: the web server of the viewer and a Valkey, without workers."""
    with tempfile.TemporaryDirectory() as folder, servers.running_valkey() as valkey:
        port = servers.free_port()
        environment = {
            "DATA_DIR": folder, "REDIS_URL": valkey, "QUO_WEBHOOK_SECRETS": hosts.SECRET,
            "LOG_LEVEL": "WARNING",
        }  # fmt: skip
        viewer = [sys.executable, "-m", "viewer"]
        subprocess.run(
            [*viewer, "db", "upgrade"], cwd=checkout, check=True, capture_output=True,
            env=os.environ | {"PYTHONPATH": str(checkout)} | environment,
        )  # fmt: skip
        with server([*viewer, "web", "--port", str(port)], checkout, **environment) as pid:
            return clients.measure(port, pid, seconds)


def beside_backlog(checkout: Path, clients: Clients, backlog: Clients, seconds: float) -> Run:
    """While two workers ingest what came at once."""
    with hosts.running(checkout) as host:
        port = int(host.base.rpartition(":")[2])
        backlog.send_all(port)
        return clients.measure(port, host.process.pid, seconds)


def against_plain(url: str, checkout: Path, seconds: float) -> tuple[Run, Run]:
    """Three photos in each message."""
    media = [f"{url}/{number}" for number in range(3)]
    plain_clients, our_clients = Clients(600, media), Clients(6_000, media)
    plain = peer("plain", plain_clients, seconds)
    with hosts.running(checkout) as host:
        port = int(host.base.rpartition(":")[2])
        ours = our_clients.measure(port, host.process.pid, seconds)
    plain_clients.close()
    our_clients.close()
    return ours, plain


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--before", help="a revision to measure beside this one")
    words = parser.parse_args()
    _report("now", hosts.CHECKOUT, words.seconds)
    if words.before:
        with hosts.commit(words.before) as checkout:
            _report(f"at {words.before}", checkout, words.seconds)


def _report(name: str, checkout: Path, seconds: float) -> None:
    clients = Clients(30_000)
    bare = peer("bare", clients, seconds)
    ours = alone(checkout, clients, seconds)
    print(
        f"webhook alone, {name}: {ours}; bare door {bare}: "
        f"{ours.rate / bare.rate:.2f} of its rate, "
        f"{ours.cpu / len(ours.times) / (bare.cpu / len(bare.times)):.1f} times its CPU",
        flush=True,
    )
    backlog = Clients(BACKLOG, first=100_000)
    late = beside_backlog(checkout, clients, backlog, seconds)
    print(
        f"beside a backlog of {BACKLOG:,} events, {name}: {late}; "
        f"p99 {late.at(0.99) / ours.at(0.99):.1f} times that of the webhook alone, "
        f"{late.rate / ours.rate:.2f} of its rate",
        flush=True,
    )
    clients.close()
    backlog.close()
    with media_host() as url:
        ours, plain = against_plain(url, checkout, seconds)
    print(
        f"three photos in each, {name}: {ours}; plain design {plain}: "
        f"{ours.rate / plain.rate:.0f} times its rate, "
        f"p99 {ours.at(0.99) / plain.at(0.5):.2f} of its p50",
        flush=True,
    )


if __name__ == "__main__":
    main()
