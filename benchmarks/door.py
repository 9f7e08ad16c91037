"""The webhook: alone, beside a backlog, and against the plain design, each with a peer in one run.

The bare door is what no webhook can do without, behind the same server on the same SQLite settings:
check the signature, insert one durable row, answer. The plain design downloads the photos within
the request. The clients speak through raw sockets and cost little.

    python -m benchmarks.door [--seconds 8] [--before REVISION]
"""

import argparse
import json
import multiprocessing
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import bare_door, hosts
from benchmarks.burst import media_host
from tests.payloads import Message, signed
from tests.support import servers

BACKLOG = 2_000  # events


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

    def measure(self, port: int, pid: int, seconds: float, clients: int = hosts.CLIENTS) -> Run:
        before, begun = _cpu(pid), time.monotonic()
        times = self._pool.apply(ask, (port, self._ready, seconds, clients))
        return Run(times, time.monotonic() - begun, _cpu(pid) - before)

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


def _cpu(pid: int) -> float:
    root = psutil.Process(pid)
    return sum(sum(one.cpu_times()[:4]) for one in [root, *root.children(recursive=True)])


@contextmanager
def door(command: list[str], folder: Path, port: int, **environment: str) -> Iterator[int]:
    """The pid of a server that listens on this port."""
    process = subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

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


def bare(folder: Path, design: str = "bare") -> tuple[list[str], int]:
    port = servers.free_port()
    return [sys.executable, bare_door.__file__, str(folder), str(port), design], port
