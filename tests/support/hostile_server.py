"""An HTTP server on loopback that does as it is told, and mostly misbehaves.

It speaks through raw sockets, so that it can say what no library would. A behaviour is a function
of the connection, made by the functions below or written in the test:

    with HostileServer() as server:
        url = server.serve(answer(photo))
        url = server.serve(in_turn(answer(status=503), answer(photo)))
        url = server.serve(lambda wire: wire.drip(b"HTTP/1.1 200 OK", every=0.1))

What came in is in `server.requests`, in order.
"""

import itertools
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    method: str
    path: str  # with its query
    headers: Mapping[str, str]  # names in lower case


class Wire:
    """One connection, seen from the server, after the request was read."""

    def __init__(
        self, connection: socket.socket, request: Request, closing: threading.Event
    ) -> None:
        self.connection, self.request, self._closing = connection, request, closing

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def drip(self, data: bytes, every: float, size: int = 1) -> None:
        """Send so many bytes, wait so many seconds, and so on."""
        for start in range(0, len(data), size):
            self.send(data[start : start + size])
            self.pause(every)

    def pause(self, seconds: float) -> None:
        """Keep the connection open and say nothing. Ends early when the server is closed."""
        if self._closing.wait(seconds):
            raise ConnectionAbortedError

    def reset(self) -> None:
        """Hang up rudely: the other side sees a reset instead of an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


Behaviour = Callable[[Wire], None]


class HostileServer:
    """Listens until the end of its `with` block; every connection has a thread of its own."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        requests_each: int = 1,  # on one connection, before it is closed
    ) -> None:
        self._requests_each = requests_each
        self.requests: list[Request] = []
        self.connections = 0  # that were accepted, whatever became of them
        self._tls = tls
        self._behaviours: dict[str, Behaviour] = {}
        self._numbers = itertools.count(1)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=128)
        self._listener.settimeout(0.01)  # how soon close() is noticed
        self.port: int = self._listener.getsockname()[1]
        self._host = f"[{host}]" if ":" in host else host

    def __enter__(self) -> "HostileServer":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Refuse new connections and cut those that are open."""
        self._closing.set()
        with self._lock:
            still_open = list(self._open)
        for connection in still_open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=5)

    def serve(self, behaviour: Behaviour, path: str | None = None) -> str:
        """Behave like this when asked for the path. Gives the address, a new one unless named."""
        path = path or f"/file-{next(self._numbers)}"
        self._behaviours[path] = behaviour
        return self.url(path)

    def url(self, path: str, host: str | None = None) -> str:
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{host or self._host}:{self.port}{path}"

    def asked_for(self, url: str) -> int:
        """How many requests came for an address of ours."""
        return sum(url.endswith(request.path) for request in self.requests)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with self._listener:
            while not self._closing.is_set():
                with suppress(TimeoutError):
                    connection, _ = self._listener.accept()
                    self.connections += 1
                    self._start(self._converse, connection)

    def _converse(self, connection: socket.socket) -> None:
        connection.settimeout(10)  # no test waits longer for anything
        self._remember(connection)
        # The other side hangs up in the middle of most of what we do.
        with suppress(OSError):
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._remember(connection)
            with connection:
                for _ in range(self._requests_each):
                    request = self._read_request(connection)
                    path = request.path.partition("?")[0]
                    behave = self._behaviours.get(path, answer(status=404))
                    behave(Wire(connection, request, self._closing))
        connection.close()

    def _remember(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def _read_request(self, connection: socket.socket) -> Request:
        received = b""
        while b"\r\n\r\n" not in received:
            more = connection.recv(65536)
            if not more:
                raise ConnectionAbortedError
            received += more
        first, *lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        fields = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        request = Request(method, path, headers)
        with self._lock:
            self.requests.append(request)
        return request


# --- behaviours ---


def answer(
    body: bytes = b"",
    status: int = 200,
    *,
    length: int | str | None = "right",
    headers: tuple[tuple[str, str], ...] = (),
) -> Behaviour:
    """An answer whose Content-Length is right, a lie (a number) or missing (None). Then hang up."""
    announced = len(body) if length == "right" else length
    lines = [f"HTTP/1.1 {status} As Told", *(f"{name}: {value}" for name, value in headers)]
    if announced is not None:
        lines.append(f"Content-Length: {announced}")
    return raw("\r\n".join([*lines, "", ""]).encode() + body)


def raw(data: bytes) -> Behaviour:
    """Exactly these bytes, then hang up."""
    return lambda wire: wire.send(data)


def redirect(location: str, status: int = 302, body: bytes = b"") -> Behaviour:
    return answer(body, status, headers=(("Location", location),))


def chunked(*chunks: bytes, ending: bytes = b"0\r\n\r\n") -> Behaviour:
    """A chunked answer; without its `ending` it was cut."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + ending)


def endless(chunk: bytes = bytes(65536), announce: int | None = None) -> Behaviour:
    """A body without end, as fast as it is taken."""

    def behave(wire: Wire) -> None:
        answer(length=announce)(wire)
        while True:
            wire.send(chunk)

    return behave


def dripping(body: bytes, every: float, size: int = 1) -> Behaviour:
    """Good headers at once, then the body a byte at a time, or so many."""

    def behave(wire: Wire) -> None:
        answer(length=len(body))(wire)
        wire.drip(body, every, size)

    return behave


def stalling(body: bytes, after: int) -> Behaviour:
    """So many bytes of the body, then silence on an open line."""

    def behave(wire: Wire) -> None:
        answer(body[:after], length=len(body))(wire)
        wire.pause(60)

    return behave


def silent(wire: Wire) -> None:
    """Take the request and never say a word."""
    wire.pause(60)


def resetting(wire: Wire) -> None:
    wire.reset()


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """The first behaviour for the first request, and so on; the last one stays."""
    remaining = list(behaviours)
    lock = threading.Lock()

    def behave(wire: Wire) -> None:
        with lock:
            chosen = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        chosen(wire)

    return behave
