"""Clients of the webhook that cost little: raw sockets, in a process of their own.

What they send is made before the clock runs: each delivery is one of its own.
"""

import multiprocessing
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from benchmarks import hosts
from benchmarks.figures import quantile
from tests.payloads import Message, signed

WARM_UP = 1_000  # requests that are sent before the clock runs
# In the clients' process: the requests that are ready.
_ready: list[bytes] = []


@dataclass
class Run:
    """What a number of clients saw of a door for some seconds."""

    times: list[float]  # seconds until each answer
    seconds: float
    cpu: float  # seconds, of the server's processes

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds

    @property
    def cpu_each(self) -> float:
        """Milliseconds."""
        return self.cpu / len(self.times) * 1000

    def at(self, share: float) -> float:
        """This quantile, in milliseconds."""
        return quantile(self.times, share) * 1000

    def __add__(self, other: Self) -> "Run":
        return Run(self.times + other.times, self.seconds + other.seconds, self.cpu + other.cpu)

    def __str__(self) -> str:
        return (
            f"{self.rate:.0f}/s, p50 {self.at(0.5):.1f} ms, p99 {self.at(0.99):.1f} ms, "
            f"{self.cpu_each:.2f} ms CPU each"
        )


def make(first: int, count: int, media: list[str]) -> None:
    _ready.extend(request(number, media) for number in range(first, first + count))


def request(number: int, media: Sequence[str] = ()) -> bytes:
    """A whole HTTP request: a delivery of its own."""
    message = Message(
        number=number, media=list(media), sender=f"+1617555{100 + number % 50:04d}",
        conversation=f"CNbench{number % 50}",
    )  # fmt: skip
    body, headers = signed(message.payload(), "standard", hosts.SECRET)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(
        ["POST /webhooks/quo HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *lines]
    )
    return head.encode() + b"\r\n\r\n" + body


def count_ready() -> int:
    return len(_ready)


def ask(port: int, first: int, last: int, seconds: float) -> tuple[list[float], float]:
    """Send these, so many at once, for so many seconds. Seconds until each answer, and of all."""
    begun = time.monotonic()

    def client(share: int) -> list[float]:
        took: list[float] = []
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for request in _ready[first + share : last : hosts.CLIENTS]:
                sent = time.monotonic()
                if sent > begun + seconds:
                    break
                line.sendall(request)
                answer = line.recv(4096)
                took.append(time.monotonic() - sent)
                assert answer.startswith((b"HTTP/1.1 204", b"HTTP/1.0 204")), answer
                if b"connection: close" in answer.lower():
                    raise RuntimeError("the server does not keep connections")
        return took

    with ThreadPoolExecutor(hosts.CLIENTS) as pool:
        times = [took for times in pool.map(client, range(hosts.CLIENTS)) for took in times]
    return times, time.monotonic() - begun


class Clients:
    """They measure in so many rounds, each with requests of its own."""

    def __init__(
        self, count: int, media: list[str] | None = None, *, first: int = 0, rounds: int = 1
    ) -> None:
        self._count, self._each = count, count // rounds
        spawn = multiprocessing.get_context("spawn")
        self._pool = spawn.Pool(1, initializer=make, initargs=(first, count, media or []))
        self._pool.apply(count_ready)  # they are ready when this returns

    def measure(self, port: int, pid: int, seconds: float, turn: int = 0) -> Run:
        first, last = self._each * turn, self._each * (turn + 1)
        if self._each > WARM_UP:
            self._pool.apply(ask, (port, first, first + WARM_UP, 1.0))
            first += WARM_UP
        before = hosts.cpu_of(pid)
        times, took = self._pool.apply(ask, (port, first, last, seconds))
        return Run(times, took, hosts.cpu_of(pid) - before)

    def send_all(self, port: int) -> int:
        """How many were answered."""
        times, _ = self._pool.apply(ask, (port, 0, self._count, 600.0))
        return len(times)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.terminate()
        self._pool.join()
